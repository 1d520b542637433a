/* A descriptor that polls readable while something is there to be had: for poll, epoll, libuv, GLib. It is made when somebody asks
 * for it. A bell that is zero is silent, and has none. Guarded by its owner's lock. */
#ifndef MP__POOL_BELL_H
#define MP__POOL_BELL_H
#include <stdbool.h>

typedef struct mp__bell {
    int fd;     /* 0: nobody has asked for it; a descriptor of ours is above the standard ones */
    bool rings; /* it polls readable */
} mp__bell;

/* The descriptor, made now if there is none yet; -1: none to be had, ask again. `rings`: whether it is readable from the start. */
int mp__bell_fd(mp__bell *bell, bool rings);
/* From now on it is readable, or not. Nothing where nobody has asked. */
void mp__bell_ring(mp__bell *bell, bool rings);
void mp__bell_close(mp__bell *bell);

#endif
