/* as_completed: workers download, all at once; each page is saved and reported here as soon as it is there, one after the other.
 *
 *     with ThreadPoolExecutor(10) as executor:
 *         futures = {executor.submit(download, url): url for url in urls}
 *         for future in as_completed(futures):
 *             save(directory, futures[future], future.result()) */
#include "examples/download/command.h"

#include <stdio.h>
#include <stdlib.h>

/* Python's dictionary from futures to URLs. */
static const char *url_of(const mp_future *done, mp_future *const *futures, const command *of)
{
    size_t i = 0;
    while (futures[i] != done)
        i++;
    return of->urls[i];
}

static void finish(command *of, mp_future *done, const char *url)
{
    response page;
    saved file = {0};
    mp_error error = *mp_future_exception(done, 0);
    if (mp_future_result(done, &page, 0) == MP_OK) /* the body lives as long as the future */
        save(of->directory, url, page.body, &file, &error);
    report(of, url, &file, &error);
}

int main(int argc, char **argv)
{
    command asked = command_of(argc, argv);
    mp_future **futures = calloc(asked.count, sizeof(mp_future *)), *done;
    if (!futures)
        return perror("as_completed"), 1;

    MP_WITH_EXECUTOR (executor, .kind = asked.kind, .max_workers = asked.workers, .thread_name_prefix = "download",
                      .initializer = MP_HOOK(fetcher_start, NULL), .finalizer = MP_HOOK(fetcher_stop, NULL)) {
        for (size_t i = 0; i < asked.count; i++)
            futures[i] = mp_submit(executor, fetch, (&(request){mp_str_of(asked.urls[i]), asked.timeout}));

        mp_as_completed *each = mp_as_completed_new(futures, asked.count, MP_FOREVER);
        mp_status status;
        while ((status = mp_as_completed_next(each, &done)) == MP_OK)
            finish(&asked, done, url_of(done, futures, &asked));
        if (status != MP_END)
            fprintf(stderr, "as_completed: %s\n", mp_status_text(status));
        mp_as_completed_free(&each);

        for (size_t i = 0; i < asked.count; i++)
            mp_future_free(&futures[i]);
    }
    free(futures);
    return command_end(&asked);
}
