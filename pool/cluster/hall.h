/* The hall of the root process: where agents' connections come in, show who they are, and wait until a pool takes them. */
#ifndef MP__POOL_CLUSTER_HALL_H
#define MP__POOL_CLUSTER_HALL_H
#include "pool/cluster/wire.h"

typedef struct mp__guest {
    struct mp__guest *next;
    mp__wire wire;
    uint64_t nonce; /* that it was given */
    bool greeted;
    uint64_t since;  /* when it came */
    unsigned silent; /* seconds in which nothing came */
    mp__greeting greeting;
} mp__guest;

typedef struct mp__hall_terms {
    uint32_t agents; /* a pool is open when so many are there, */
    uint32_t wait_s; /* or an error, after so long */
    int local;       /* workers in the root's own host; < 0: as many as it has CPUs */
} mp__hall_terms;

/* Opens the hall as the text says: [HOST:]PORT[,agents=N][,local=N][,wait=SECONDS]. MP_EINVAL, MP_ESYSTEM. */
mp_status mp__hall_open(const char *text, mp_error *error);
/* The same over a door (tunnel.h), which is taken, with agents behind it. */
mp_status mp__hall_open_door(int door, uint32_t agents, mp_error *error);
/* An agent that was there, or the root, has been lost; whether one has; and what is lost from now on is another job. */
void mp__hall_note_loss(void);
void mp__hall_forget_losses(void);
bool mp__hall_has_lost(void);
/* Nobody comes any more, and who waits is sent away. */
void mp__hall_close(void);
/* In mp_main nothing can be returned: why there is no hall is told to each pool that is opened. */
void mp__hall_refuse(const mp_error *why);

/* False: there is none in this process, and pools are local. */
bool mp__hall_is_open(void);
/* MP_OK, or why there is none that should be there. */
mp_status mp__hall_check(mp_error *error);
mp__hall_terms mp__hall_get_terms(void);
/* The port on which it listens; 0: on none. */
int mp__hall_port(void);
/* Readable if mp__hall_turn has something to do. */
int mp__hall_fd(void);
/* Lets in who has come. Never blocks. */
void mp__hall_turn(void);
/* A pool is there, which calls mp__hall_tick each second; or it is no more. Who waits is told whether to expect to hear anything. */
void mp__hall_attend(void);
void mp__hall_leave(void);
void mp__hall_tick(void);
/* One who waits and whose agent is none of these; given. NULL: there is none. `in` and what is owed to the hall are settled. */
mp__guest *mp__hall_take(bool (*known)(uint64_t agent, const void *of), const void *of);
void mp__guest_free(mp__guest *guest);
/* The last one who was sent away since that was asked last, and why: MP_OK, nobody. */
mp_status mp__hall_take_refusal(mp_error *error);

#endif
