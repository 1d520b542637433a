/* What a worker may use, as setrlimit(2) has it. */
#ifndef MP__PROCESS_LIMITS_H
#define MP__PROCESS_LIMITS_H
#include "pool/backend.h"
#include <millpond/error.h>

/* In the worker, before anything of the user's runs. MP_EINVAL: one is above what the system lets it have; MP_ESYSTEM. `why` says it. */
mp_status mp__limits_apply(const mp__worker_limits *limits, char why[MP_MESSAGE_MAX]);

/* What to say of a death by this signal: "" if no limit explains it, else a text that begins with ": ". `cpu_ns`: what it had used; 0:
 * not known. */
void mp__limits_explain(const mp__worker_limits *limits, int signal, uint64_t cpu_ns, char text[MP_MESSAGE_MAX]);

#endif
