/* millpond: pools of processes that run plain C functions; Python's multiprocessing.Pool, for C.
 *
 * Start with millpond/pool.h (open a pool, map a function over an array); millpond/task.h says how a function becomes a
 * task, millpond/type.h how a struct becomes a type. Every public name begins with mp_ or MP_; what begins with mp__ or
 * MP__ is an implementation detail of a macro and may change. */
#ifndef MILLPOND_H
#define MILLPOND_H
#include <millpond/error.h>
#include <millpond/pool.h>
#include <millpond/status.h>
#include <millpond/task.h>
#include <millpond/type.h>
#include <millpond/version.h>
#endif
