/* One page from the web, with libcurl: as a plain function, and as a task for any kind of workers.
 *
 *     MP_WITH_EXECUTOR (executor, ..., .initializer = MP_HOOK(fetcher_start, NULL), .finalizer = MP_HOOK(fetcher_stop, NULL))
 *         future = mp_submit(executor, fetch, (&(request){mp_str_of(url), 30}));
 *
 * Every worker has a fetcher of its own, which keeps connections open from one page to the next of the same server. */
#ifndef DOWNLOAD_FETCH_H
#define DOWNLOAD_FETCH_H
#include <millpond.h>

enum { CONNECT_SECONDS = 10, REDIRECTIONS_MAX = 5, PAGE_MAX = 64 * 1024 * 1024 };

typedef struct {
    mp_str url;     /* http or https */
    double timeout; /* seconds, for the whole of it; a connection must be there within CONNECT_SECONDS */
} request;
MP_TYPE(request, url, timeout);

typedef struct {
    int status;            /* 200 to 299: any other is a failure */
    mp_bytes content_type; /* as the server says it; nothing says that it is UTF-8 */
    mp_bytes body;         /* at most PAGE_MAX */
} response;
MP_TYPE(response, status, content_type, body);

/* The plain function. `page` is borrowed until the next one, and `error` says in one line why there is none. */
typedef struct fetcher fetcher;
fetcher *fetcher_new(void); /* NULL: libcurl cannot be had */
mp_status fetcher_get(fetcher *with, const request *wanted, response *page, mp_error *error);
void fetcher_free(fetcher *of);

/* The task, and what its workers start and stop with. */
mp_status fetch(const request *wanted, response *page, mp_call *call);
MP_TASK_DECLARE(fetch, request, response);
MP_TASK_DECLARE(fetcher_start, mp_none, mp_none);
MP_TASK_DECLARE(fetcher_stop, mp_none, mp_none);

#endif
