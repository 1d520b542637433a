/* Options with getopt_long(3), URLs from the command line and, where a - stands, from the lines of standard input. */
#include "examples/download/command.h"
#include "examples/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "%s [OPTION...] OUTPUT-DIRECTORY URL...\n"
    "Downloads every URL (http or https) into a new file of the directory, named after the last part of its path.\n"
    "For a URL that is - the lines of standard input are read.\n"
    "\n"
    "  --kind threads|processes  what the workers are; default: threads (none of this matters to `serial`)\n"
    "  --workers N               how many; default: 10\n"
    "  --timeout SECONDS         how long one URL may take; default: 30\n"
    "  --help                    this text\n"
    "\n"
    "Says `OK url bytes file` or `FAIL url: reason` for each. Exit code: 0 all are there, 1 some are not, 2 wrong options.\n";

_Noreturn static void stop(int code, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(code);
}

static mp_kind kind_of(const char *name)
{
    if (!strcmp(name, "threads"))
        return MP_THREADS;
    if (strcmp(name, "processes") != 0)
        stop(2, "--kind must be threads or processes, got", name);
    return MP_PROCESSES;
}

static void parse_options(command *into, int argc, char **argv)
{
    static const struct option options[] = {
        {"kind", required_argument, NULL, 'k'},
        {"workers", required_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'k': into->kind = kind_of(optarg); break;
        case 'w': into->workers = (int)option_number("--workers", optarg, 1, 1000); break;
        case 't': into->timeout = (double)option_number("--timeout", optarg, 1, 86400); break;
        case 'h': printf(help, program_invocation_short_name); exit(0);
        default: stop(2, "these are not the options", "--help lists them");
        }
    }
}

static void add_url(command *to, const char *url)
{
    char **urls = realloc(to->urls, (to->count + 1) * sizeof *urls);
    if (!urls || !(urls[to->count] = strdup(url)))
        stop(1, url, strerror(errno));
    to->urls = urls;
    to->count++;
}

static void add_lines(command *to, FILE *from)
{
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, from) != -1) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line)
            add_url(to, line);
    }
    if (ferror(from))
        stop(1, "standard input", strerror(errno));
    free(line);
}

command command_of(int argc, char **argv)
{
    command is = {.kind = MP_THREADS, .workers = 10, .timeout = 30};
    parse_options(&is, argc, argv);
    if (argc - optind < 2)
        stop(2, "name a directory and a URL", "--help says how");
    is.directory = argv[optind];
    struct stat about;
    if (stat(is.directory, &about) || (!S_ISDIR(about.st_mode) && (errno = ENOTDIR)))
        stop(1, is.directory, strerror(errno));
    for (char **url = argv + optind + 1; *url; url++)
        if (strcmp(*url, "-") != 0)
            add_url(&is, *url);
        else
            add_lines(&is, stdin);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line is there when it is known, also in a pipe */
    return is;
}

void report(command *of, const char *url, const saved *file, const mp_error *error)
{
    of->reported++;
    if (error->status == MP_OK) {
        printf("OK %s %ju %s/%s\n", url, (uintmax_t)file->bytes, of->directory, file->name);
    } else {
        printf("FAIL %s: %s\n", url, error->message);
        of->failed++;
    }
}

int command_end(command *of)
{
    bool good = of->reported == of->count && of->failed == 0;
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "%s: standard output cannot be written\n", program_invocation_short_name);
        good = false;
    }
    for (size_t i = 0; i < of->count; i++)
        free(of->urls[i]);
    free(of->urls);
    return good ? 0 : 1;
}
