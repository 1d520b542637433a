/* At an agent: one pool of the root's. */
#ifndef MP__POOL_CLUSTER_SESSION_H
#define MP__POOL_CLUSTER_SESSION_H
#include "pool/cluster/wire.h"
#include <signal.h>

typedef struct mp__session mp__session;

/* Takes the connection, on which `nonce` was sent; its workers will be started like that. NULL: no memory; it is closed. */
mp__session *mp__session_make(mp__wire *wire, uint64_t nonce, bool trusted, mp_start_method method);
/* What becomes of a connection that was offered. WAITS: ask again, each second at least. WANTED: it is for a pool, and the next may be
 * offered. AGAIN: it was to be for one that is no more; the root may be there still. OVER: the root has gone, or does not want us; SILENT:
 * nothing has come for long, though there should have. */
typedef enum mp__offer { MP__OFFER_WAITS, MP__OFFER_WANTED, MP__OFFER_AGAIN, MP__OFFER_OVER, MP__OFFER_SILENT } mp__offer;

/* Reads what has come before the pool is known. */
mp__offer mp__session_hear_offer(mp__session *session);
int mp__session_fd(const mp__session *session);
/* Serves the pool to its end. Its workers get this signal mask. Blocks. */
void mp__session_run(mp__session *session, const sigset_t *mask);
void mp__session_free(mp__session *session);

#endif
