/* submit: workers download and save, all at once; what came of it is said in the order of the URLs.
 *
 *     with ThreadPoolExecutor(10) as executor:
 *         futures = [executor.submit(download_and_save, url, directory) for url in urls]
 *         for url, future in zip(urls, futures):
 *             print(url, future.exception() or future.result()) */
#include "examples/download/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    request wanted;
    mp_bytes directory; /* a path, with its final zero: nothing says that it is UTF-8 */
} errand;
MP_TYPE(errand, (request, wanted), directory);

static mp_status download(const errand *on, saved *file, mp_call *call)
{
    response page;
    mp_error error;
    mp_status status = fetch(&on->wanted, &page, call);
    if (status == MP_OK && save(on->directory.data, on->wanted.url.data, page.body, file, &error) != MP_OK)
        status = mp_fail(call, error.status, "%s", error.message);
    return status;
}
MP_TASK(download, errand, saved);

int main(int argc, char **argv)
{
    command asked = command_of(argc, argv);
    mp_bytes directory = {asked.directory, strlen(asked.directory) + 1};
    mp_future **futures = calloc(asked.count, sizeof(mp_future *));
    if (!futures)
        return perror("submit"), 1;

    MP_WITH_EXECUTOR (executor, .kind = asked.kind, .max_workers = asked.workers, .thread_name_prefix = "download",
                      .initializer = MP_HOOK(fetcher_start, NULL), .finalizer = MP_HOOK(fetcher_stop, NULL)) {
        for (size_t i = 0; i < asked.count; i++) {
            request wanted = {mp_str_of(asked.urls[i]), asked.timeout};
            futures[i] = mp_submit(executor, download, (&(errand){wanted, directory}));
        }
        for (size_t i = 0; i < asked.count; i++) {
            saved file = {0};
            mp_future_result(futures[i], &file, MP_FOREVER);
            report(&asked, asked.urls[i], &file, mp_future_exception(futures[i], MP_FOREVER));
            mp_future_free(&futures[i]);
        }
    }
    free(futures);
    return command_end(&asked);
}
