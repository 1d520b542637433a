/* The inside of a dispatch, shared by dispatch.c (what is done in a turn), driver.c (who does it, and when), lifecycle.c (how it
 * begins and ends), callbacks.c, what streams are made of (stream.c, iter.c, generator.c), and what calls are that are handed in without the
 * lock (post.c, batch.c, sheet.c). Nobody else. */
#ifndef MP__POOL_DISPATCH_STATE_H
#define MP__POOL_DISPATCH_STATE_H
#include "pool/callbacks.h"
#include "pool/dispatch.h"
#include "pool/stream.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct mp__measure { /* of one slot's life */
    uint64_t busy_ns, items; /* to tell the core how long items take */
    bool ready;              /* it is through with its initializer */
    bool condemned;          /* it is to die, for it cannot be understood or read */
} mp__measure;

/* A thread that sleeps where callers run the items: see lend.c. */
typedef struct mp__lender {
    struct mp__lender *next;
    const mp__awaited *what; /* that it waits for; NULL: until nothing is pending */
    uint64_t deadline;
} mp__lender;

/* See sheet.c. */
typedef struct mp__sheet mp__sheet;
typedef struct mp__sheets {
    /* atomic */
    _Atomic(mp__sheet *) open; /* what is cut next; NULL: there is none */
    _Atomic(mp__sheet *) spare;
    atomic_uint spare_count;
    /* whose it is that has taken `open` away */
    unsigned opened; /* since it was looked last at how many are not needed, */
    unsigned least;  /* and how many were spare all the time since */
} mp__sheets;

struct mp__dispatch {
    /* fixed at open */
    const mp__backend *backend;
    bool has_initializer;
    mp__fragile fragile;
    bool minds;       /* Ctrl-C */
    uint64_t spin_ns; /* for so long who waits stays awake, at most */
    int wake;         /* eventfd: whoever drives sleeps longer than it should now */
    int events;       /* epoll over the backend's descriptor and `wake`: what a driver sleeps on */
    int ear;          /* epoll over `events`, which the I/O thread sleeps on; deaf while a caller drives */
    pthread_t thread;
    pthread_mutex_t
        turnstile; /* held only to wait for `lock`: who drives comes back through it, behind who waits already */
    pthread_mutex_t lock;
    /* atomic */
    _Atomic(mp__workers *) workers; /* NULL when they are gone: a thread asks without the lock whether it is one */
    atomic_uint refs;               /* the pool, each sheet, and each handle that is from none */
    atomic_uint wanted;             /* threads that wait for `lock` */
    _Atomic(mp__posted *) posted;   /* the newest first */
    atomic_bool hungry;             /* who posts has to see to it that it is taken */
    atomic_bool shut;               /* the core takes no new work */
    mp__sheets sheets;
    /* guarded by lock */
    mp__core *core;
    uint32_t slots;
    mp__measure *measures; /* by slot */
    uint64_t succeeded, failed;
    bool caller_drives;    /* a caller that waits; else the I/O thread does */
    uint64_t caller_until; /* until when each of the two sleeps; 0: awake, and will look again */
    uint64_t thread_until;
    unsigned missed;             /* waits in a row for which it was no use to stay awake, */
    unsigned asleep;             /* and how many more are to sleep at once */
    bool woken;                  /* `wake` is readable */
    const mp__awaited *expected; /* what one waits for is the only item that is under way, and its worker knows; NULL */
    _Atomic uint32_t *dozed_on;  /* where one sleeps who waits for the only item that is under way, */
    const pthread_cond_t *dozer; /* and for what, beside that; NULL: none does */
    uint64_t look_at;            /* workers are asked for what they have not said then; see mp__dispatch_look_at */
    uint64_t look_wait, looked_at;
    mp__posted *line, *line_end; /* calls that have no job yet, in order */
    uint64_t line_count;
    struct mp__batch *batches, *last_batch; /* with the core, in order */
    struct mp__batch *spare_batches;        /* see batch.c */
    unsigned spare_count;
    uint64_t nap_at;    /* who drives looks then for what was posted; MP__NEVER: posters see to it themselves. See post.c */
    uint64_t came;      /* how many were posted since it did so last */
    uint64_t posted_at; /* when one did so last, */
    unsigned in_a_row;  /* and how often, each soon after the other */
    mp_error blame;     /* how the life that is being buried ended */
    bool vanished;      /* and that nobody knows how far it was */
    uint32_t asked_workers;       /* how many the user has said; 0: one for each CPU */
    uint32_t cpus, most_cpus;     /* of all hosts that are there, and the most that have been; 0 where that is not told */
    const mp__evidence *evidence; /* of that; NULL: there is none, or none is being buried */
    mp_error trouble;             /* why a worker could not be started or did not stay, last */
    bool thread_runs;
    bool ended;
    unsigned interrupts; /* that have been minded */
    bool busy;           /* counted among those that have something to do: see interrupt.h */
    size_t unprinted;    /* bytes of what workers have written: see output.h */
    bool lent;           /* a caller's thread runs items: see mp__lend. It does so until there are none, */
    mp__lender *lenders; /* unless one of these, who sleep on `may_lend`, is there to go on */
    unsigned callers;    /* that wait for items, run them, or are about to hand some in: mp__dispatch_stay */
    uint32_t blocked;    /* of them, on threads of this very pool */
    unsigned joiners;    /* that are in mp__dispatch_join: they come back to the lock */
    mp__streams streams;
    mp__callbacks callbacks;
    pthread_cond_t may_lend;  /* there is something to run and nobody runs it, or what a lender waits for has come */
    pthread_cond_t ended_now; /* `ended`, no `callers`, and no callbacks; or no `joiners` */
};

/* post.c: puts what was posted into line, and gives the core what is near its turn. With the lock. */
void mp__posted_take(mp__dispatch *d);
/* Who drives begins a turn. With the lock. */
void mp__posted_nap(mp__dispatch *d);
/* The last before the lock is let go of: says whether what is posted from now on has to be seen to. True: something came meanwhile
 * that nobody sees to. */
bool mp__posted_look(mp__dispatch *d);

/* Of so many workers, as many as there is a part of all CPUs that have been; all of them where CPUs are not told. */
uint32_t mp__dispatch_part(const mp__dispatch *d, uint32_t workers);
/* As mp__dispatch_resize, but it is not what the user has asked for. With the lock, and acted. */
mp_status mp__dispatch_change(mp__dispatch *d, uint32_t workers);
/* Carries out actions until there are none. With the lock. */
void mp__dispatch_act(mp__dispatch *d);
/* Sends every worker what it may have. With the lock. */
void mp__dispatch_send_all(mp__dispatch *d);
/* The same, and gives streams what they have room for, until there is nothing to do for either. With the lock. */
void mp__dispatch_act_and_feed(mp__dispatch *d);
/* Handles the events that are there, and acts. With the lock. */
void mp__dispatch_turn(mp__dispatch *d);
/* The same for what the backend's `spin` has found; false: it was nothing. With the lock. */
bool mp__dispatch_turn_spun(mp__dispatch *d);
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

/* lend.c: for a kind whose items run on callers' threads; nothing on any other. All with the lock, which they let go of meanwhile.
 *
 * Lends this thread for one step, if there is something to run and nobody runs it: true. */
bool mp__lend(mp__dispatch *d);
/* The same, or sleeps, at most until then, for want of something to run or because another thread does; it may wake for nothing. */
void mp__lend_or_sleep(mp__dispatch *d, const mp__awaited *what, uint64_t deadline);
/* Lends it, or waits for what is run later, until nothing is pending, somebody else runs items, or that time has come.
 * `all_here`: what was there before it runs in any case. With what comes meanwhile others may go on that wait. */
void mp__lend_until_done(mp__dispatch *d, bool all_here, uint64_t deadline);
/* Those who sleep look again. */
static inline void mp__lend_tell(mp__dispatch *d)
{
    if (d->lenders)
        pthread_cond_broadcast(&d->may_lend);
}

/* driver.c: takes the lock, behind who waits for it already. */
void mp__driver_lock(mp__dispatch *d);
/* Before something is submitted: an interruption that came before ends what is there. With the lock. */
void mp__driver_mind(mp__dispatch *d);
/* With something to do, the first Ctrl-C is ours: before it begins, and when it is done. With the lock. */
void mp__driver_tell_busy(mp__dispatch *d);
/* Drives until the pool has ended or `until` says so, while the I/O thread does not. With the lock. */
void mp__driver_until(mp__dispatch *d, bool (*until)(const mp__dispatch *d));
/* Starts the I/O thread, while a caller drives: 0 or errno. From the second on it hears and drives; by the third it ends. With the
 * lock. */
int mp__driver_start_thread(mp__dispatch *d);
void mp__driver_hand_over(mp__dispatch *d);
void mp__driver_end_thread(mp__dispatch *d);

#endif
