/* A fetcher is a libcurl easy handle, whose options are set once, and the memory that pages are read into. It is made where it
 * is used, in the worker: connections and TLS sessions must not be shared through a fork. */
#include "examples/download/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct fetcher {
    CURL *easy;
    char said[CURL_ERROR_SIZE]; /* by libcurl, about what failed last */
    const char *refused;        /* why the body was not taken; NULL: it was */
    char *body;                 /* owned */
    size_t size, capacity;
};

/* ---- what libcurl calls ---- */

static bool make_room(fetcher *in, size_t size)
{
    size_t capacity = in->capacity ? in->capacity : 16 * 1024;
    while (capacity < size)
        capacity *= 2;
    char *body = capacity > in->capacity ? realloc(in->body, capacity) : in->body;
    if (!body)
        return false;
    in->body = body;
    in->capacity = capacity;
    return true;
}

/* Takes the next part of a body, or less than all of it: then libcurl gives up. */
static size_t take(char *part, size_t one, size_t count, void *user)
{
    fetcher *into = user;
    size_t size = one * count;
    if (size > PAGE_MAX - into->size)
        into->refused = "larger than the limit of 64 MiB";
    else if (!make_room(into, into->size + size))
        into->refused = "not enough memory";
    if (into->refused)
        return 0;
    memcpy(into->body + into->size, part, size);
    into->size += size;
    return size;
}

/* ---- a fetcher ---- */

static bool curl_is_there;

/* Once in a program, whoever comes first. A server that closes a TLS connection must fail a page, not end the program: libcurl
 * leaves SIGPIPE alone where it must not touch signals. */
static void start_curl(void)
{
    signal(SIGPIPE, SIG_IGN);
    curl_is_there = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

#define SET(option, value) (curl_easy_setopt(with->easy, CURLOPT_##option, (value)) == CURLE_OK)

static bool set_up(fetcher *with)
{
    return with->easy && SET(NOSIGNAL, 1L) && /* there are other threads */
           SET(PROTOCOLS_STR, "http,https") && SET(REDIR_PROTOCOLS_STR, "http,https") && SET(FOLLOWLOCATION, 1L) &&
           SET(MAXREDIRS, (long)REDIRECTIONS_MAX) && SET(CONNECTTIMEOUT, (long)CONNECT_SECONDS) &&
           SET(MAXFILESIZE, (long)PAGE_MAX) && SET(USERAGENT, "millpond-download") && SET(ERRORBUFFER, with->said) &&
           SET(WRITEFUNCTION, take) && SET(WRITEDATA, with);
}

fetcher *fetcher_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    fetcher *with = curl_is_there ? calloc(1, sizeof *with) : NULL;
    if (!with)
        return NULL;
    with->easy = curl_easy_init();
    if (!set_up(with)) {
        fetcher_free(with);
        return NULL;
    }
    return with;
}

void fetcher_free(fetcher *of)
{
    if (!of)
        return;
    curl_easy_cleanup(of->easy);
    free(of->body);
    free(of);
}

static mp_status fail(const fetcher *with, CURLcode code, mp_error *error)
{
    const char *said = with->said[0] ? with->said : curl_easy_strerror(code);
    return mp_error_set(error, MP_EFAILED, "%s", with->refused ? with->refused : said);
}

/* For libcurl 0 is no time-out at all. */
static long milliseconds(double seconds)
{
    return seconds > 0.001 ? (long)(seconds * 1000) : 1;
}

mp_status fetcher_get(fetcher *with, const request *wanted, response *page, mp_error *error)
{
    with->refused = NULL;
    with->size = 0;
    if (!SET(URL, wanted->url.data) || !SET(TIMEOUT_MS, milliseconds(wanted->timeout)))
        return mp_error_set(error, MP_EFAILED, "libcurl does not take this URL");
    CURLcode code = curl_easy_perform(with->easy);
    if (code != CURLE_OK)
        return fail(with, code, error);

    long status = 0;
    const char *type = NULL;
    curl_easy_getinfo(with->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(with->easy, CURLINFO_CONTENT_TYPE, &type);
    if (status / 100 != 2)
        return mp_error_set(error, MP_EFAILED, "the server says %ld", status);
    *page = (response){(int)status, {type, type ? strlen(type) : 0}, {with->body, with->size}};
    *error = (mp_error){0};
    return MP_OK;
}

/* ---- the task ---- */

/* What the page points to is the fetcher's: it is copied when the task returns. */
mp_status fetch(const request *wanted, response *page, mp_call *call)
{
    mp_error error;
    mp_status status = fetcher_get(mp_call_state(call), wanted, page, &error);
    return status ? mp_fail(call, status, "%s", error.message) : MP_OK;
}
MP_TASK(fetch, request, response);

static mp_status fetcher_start(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    fetcher *with = fetcher_new();
    mp_call_set_state(call, with);
    return with ? MP_OK : mp_fail(call, MP_EFAILED, "libcurl cannot be had");
}
MP_TASK(fetcher_start, mp_none, mp_none);

static mp_status fetcher_stop(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    fetcher_free(mp_call_state(call));
    return MP_OK;
}
MP_TASK(fetcher_stop, mp_none, mp_none);
