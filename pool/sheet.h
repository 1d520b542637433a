/* Memory for calls that are posted, and for what stands around them: small, many, and freed by any thread at any time. */
#ifndef MP__POOL_SHEET_H
#define MP__POOL_SHEET_H
#include "pool/dispatch.h"

/* Where a piece stands in its sheet, in words; 0: it has none, and is free(3)'s. */
typedef uint16_t mp__sheet_at;

/* Not zeroed. NULL: it is for the caller to allocate, and `at` is 0. What is taken holds the dispatch, until it is put back. Any
 * thread, no lock. */
void *mp__sheet_take(mp__dispatch *dispatch, size_t size, size_t align, mp__sheet_at *at);
/* Any thread, no lock, or that of the dispatch. */
void mp__sheet_put(void *piece, mp__sheet_at at);

/* Of the pool's end: none is taken any more. What is in use stays, as long as it is. */
void mp__sheets_close(mp__dispatch *dispatch);
/* Of a dispatch that nothing holds. */
void mp__sheets_free(mp__dispatch *dispatch);

#endif
