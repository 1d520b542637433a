/* The inside of a dispatch, shared by dispatch.c (what is done in a turn), driver.c (who does it, and when), lifecycle.c (how it
 * begins and ends), callbacks.c, and what streams are made of: stream.c, iter.c, generator.c. Nobody else. */
#ifndef MP__POOL_DISPATCH_STATE_H
#define MP__POOL_DISPATCH_STATE_H
#include "pool/callbacks.h"
#include "pool/dispatch.h"
#include "pool/stream.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct mp__measure { /* of one slot: to tell the core how long items take */
    uint64_t busy_ns, items;
    bool ready; /* this life is through with its initializer */
} mp__measure;

struct mp__dispatch {
    /* fixed at open */
    const mp__backend *backend;
    bool has_initializer;
    mp__fragile fragile;
    mp__workers *workers;
    int wake;   /* eventfd: whoever drives sleeps longer than it should now */
    int events; /* epoll over the backend's descriptor and `wake`: what a driver sleeps on */
    int ear;    /* epoll over `events`, which the I/O thread sleeps on; deaf while a caller drives */
    pthread_t thread;
    pthread_mutex_t
        turnstile; /* held only to wait for `lock`: who drives comes back through it, behind who waits already */
    pthread_mutex_t lock;
    /* atomic */
    atomic_uint refs; /* the pool, and each handle */
    /* guarded by lock */
    mp__core *core;
    uint32_t slots;
    mp__measure *measures; /* by slot */
    uint64_t succeeded, failed;
    bool caller_drives;    /* a caller that waits; else the I/O thread does */
    uint64_t caller_until; /* until when each of the two sleeps; 0: awake, and will look again */
    uint64_t thread_until;
    bool woken;       /* `wake` is readable */
    uint64_t look_at; /* workers are asked for what they have not said then; see mp__dispatch_look_at */
    uint64_t look_wait, looked_at;
    mp_error blame;   /* how the life that is being buried ended */
    mp_error trouble; /* why a worker could not be started or did not stay, last */
    bool thread_runs;
    bool ended;
    unsigned callers; /* that wait for items */
    uint32_t blocked; /* of them, on threads of this very pool */
    unsigned joiners; /* that are in mp__dispatch_join: they come back to the lock */
    mp__streams streams;
    mp__callbacks callbacks;
    pthread_cond_t ended_now; /* `ended`, no `callers`, and no callbacks; or no `joiners` */
};

/* Carries out actions until there are none. With the lock. */
void mp__dispatch_act(mp__dispatch *d);
/* Handles the events that are there, and acts. With the lock. */
void mp__dispatch_turn(mp__dispatch *d);
/* When workers may be hiding results, and it is time to look; MP__NEVER: they cannot be. With the lock. */
uint64_t mp__dispatch_look_at(mp__dispatch *d);

/* How long nothing has come until workers are looked at; longer each time, to the second. The second bounds for how long a result
 * can be hidden at all, whatever others give. Tests change it before they open a pool. */
typedef struct mp__looking {
    uint64_t first_ns, last_ns;
} mp__looking;
extern mp__looking mp__looking_times;

/* Why items ended without having run to their end. */
void mp__dispatch_why(const mp__dispatch *d, mp_status status, mp_error *error);

/* driver.c: takes the lock, behind who waits for it already. */
void mp__driver_lock(mp__dispatch *d);
/* Drives until the pool has ended or `until` says so, while it has no I/O thread. With the lock. */
void mp__driver_until(mp__dispatch *d, const mp__guard *guard, bool (*until)(const mp__dispatch *d));
/* Starts the I/O thread: 0 or errno. */
int mp__driver_start_thread(mp__dispatch *d);
/* Signals come in again, while the lock is let go of. */
void mp__driver_let_signals_in(const mp__guard *guard);

#endif
