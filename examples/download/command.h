/* What the three programs have in common: how they are called, and what they say.
 *
 *     PROGRAM [--kind threads|processes] [--workers N] [--timeout SECONDS] OUTPUT-DIRECTORY URL... (- for URLs from stdin) */
#ifndef DOWNLOAD_COMMAND_H
#define DOWNLOAD_COMMAND_H
#include "examples/download/fetch.h"
#include "examples/download/save.h"

typedef struct command {
    const char *directory;
    char **urls; /* owned */
    size_t count;
    mp_kind kind;
    int workers;
    double timeout;
    size_t reported, failed; /* URLs, by report() */
} command;

/* Ends the program with exit code 2 if that is not how it is called, with 1 if there is no such directory. */
command command_of(int argc, char **argv);

/* One line for a URL: `OK url bytes file`, or `FAIL url: reason` if `error` says that something went wrong. */
void report(command *of, const char *url, const saved *file, const mp_error *error);

/* Frees it. The program's exit code: 0 if every URL was reported, and none has failed. */
int command_end(command *of);

#endif
