/* Which process this is: what every call asks that may have been made on the other side of a fork. */
#ifndef MP__POOL_PROCESS_ID_H
#define MP__POOL_PROCESS_ID_H
#include <stdatomic.h>
#include <sys/types.h>

/* Where it stands, once it is known: 0 before, and after a fork. NULL: there is no such place. Fixed before main. */
extern _Atomic pid_t *mp__known_process_id;
pid_t mp__ask_process_id(void);

/* As getpid(2), without the system call, which costs more than many a call of ours. Any thread. */
static inline pid_t mp__process_id(void)
{
    pid_t id = mp__known_process_id ? atomic_load_explicit(mp__known_process_id, memory_order_relaxed) : 0;
    return id ? id : mp__ask_process_id();
}

#endif
