/* millpond: pools of processes or threads that run plain C functions; Python's multiprocessing.Pool and ThreadPool, for C.
 *
 * Start with millpond/pool.h (open a pool) and map.h (run a function over an array); async.h is work that is used later, iter.h
 * streams, main.h what other start methods need, comm.h pools of MPI programs; task.h says how a function becomes a task, type.h how a struct becomes a type; record.h what is known of
 * an item that failed, and how to run it again. Every public name begins with mp_ or MP_; what begins with mp__ or
 * MP__ is an implementation detail of a macro and may change. */
#ifndef MILLPOND_H
#define MILLPOND_H
#include <millpond/async.h>
#include <millpond/comm.h>
#include <millpond/error.h>
#include <millpond/executor.h>
#include <millpond/future.h>
#include <millpond/interrupt.h>
#include <millpond/iter.h>
#include <millpond/main.h>
#include <millpond/map.h>
#include <millpond/policy.h>
#include <millpond/pool.h>
#include <millpond/record.h>
#include <millpond/status.h>
#include <millpond/task.h>
#include <millpond/type.h>
#include <millpond/version.h>
#endif
