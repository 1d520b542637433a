/* serial: one URL after the other. What submit.c and as_completed.c do with workers, for comparison.
 *
 *     for url in urls:
 *         save(directory, url, download(url)) */
#include "examples/download/command.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    command asked = command_of(argc, argv);
    fetcher *with = fetcher_new();
    if (!with)
        fputs("serial: libcurl cannot be had\n", stderr);

    for (size_t i = 0; with && i < asked.count; i++) {
        const char *url = asked.urls[i];
        response page;
        saved file = {0};
        mp_error error;
        if (fetcher_get(with, &(request){mp_str_of(url), asked.timeout}, &page, &error) == MP_OK)
            save(asked.directory, url, page.body, &file, &error);
        report(&asked, url, &file, &error);
    }
    fetcher_free(with);
    return command_end(&asked);
}
