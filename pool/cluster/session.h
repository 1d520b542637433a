/* At an agent: one pool of the root's. */
#ifndef MP__POOL_CLUSTER_SESSION_H
#define MP__POOL_CLUSTER_SESSION_H
#include "pool/cluster/wire.h"
#include <signal.h>

typedef struct mp__session mp__session;

/* Takes the connection, on which `nonce` was sent. NULL: no memory; it is closed. */
mp__session *mp__session_make(mp__wire *wire, uint64_t nonce, bool trusted);
/* Reads what has come, before the pool is known. True: this connection is wanted for one; the next may be offered. `over`: it has ended. */
bool mp__session_is_wanted(mp__session *session, bool *over);
int mp__session_fd(const mp__session *session);
/* Serves the pool to its end. Its workers get this signal mask. Blocks. */
void mp__session_run(mp__session *session, const sigset_t *mask);
void mp__session_free(mp__session *session);

#endif
