/* wordcount: counts the words of every regular file below some folders, one file an item, in a pool of processes; then the
 * same serially, compares the two results and says how long each took. A file or folder that cannot be read is reported with
 * its reason, and the job goes on. */
#include "examples/options.h"
#include "examples/wordcount/count.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "wordcount [--workers N] [--chunksize N] [--top N] [DIR...]\n"
    "Counts the words of all regular files at or below each DIR, in a pool of processes and then serially.\n"
    "A word is a run of 1 to 64 ASCII letters, upper and lower case alike. Files with a zero byte near their beginning are\n"
    "binary: they count as files and bytes, but not their words. Symbolic links below DIR are not followed.\n"
    "\n"
    "  --workers N    processes in the pool; default: one for each CPU that this program may use\n"
    "  --chunksize N  files that travel together to a worker; default: as the pool finds best\n"
    "  --top N        how many words to print; default: 20\n"
    "  --help         this text\n"
    "\n"
    "Default for DIR: what is there of /usr/include, /usr/share/doc, /usr/share/perl, /usr/lib/python3.\n"
    "Exit code: 0 counted, 1 not counted (or the two results differ, which cannot be), 2 wrong options.\n";

static const char *const default_folders[] = {"/usr/include", "/usr/share/doc", "/usr/share/perl", "/usr/lib/python3",
                                              NULL};

typedef struct settings {
    long workers, chunksize, top;
} settings;

static settings parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"workers", required_argument, NULL, 'w'},
        {"chunksize", required_argument, NULL, 'c'},
        {"top", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    settings chosen = {.top = 20};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'w': chosen.workers = option_number("--workers", optarg, 1, 100000); break;
        case 'c': chosen.chunksize = option_number("--chunksize", optarg, 1, 1000000000); break;
        case 't': chosen.top = option_number("--top", optarg, 0, 1000000000); break;
        case 'h': fputs(help, stdout); exit(0);
        default: fputs("wordcount --help lists the options\n", stderr); exit(2);
        }
    }
    return chosen;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool no_memory(void)
{
    fputs("wordcount: not enough memory\n", stderr);
    return false;
}

static bool find_files(char **folders, paths *files, paths *unreadable)
{
    bool good = true;
    if (*folders)
        for (; *folders && good; folders++)
            good = files_below(*folders, files, unreadable);
    else
        for (const char *const *folder = default_folders; *folder && good; folder++)
            if (!access(*folder, F_OK))
                good = files_below(*folder, files, unreadable);
    return good;
}

static void print_list(const paths *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        printf("  %s\n", lines->items[i]);
}

static bool print_top(const tally *words, size_t top)
{
    const tally_entry **sorted = tally_sorted(words);
    if (!sorted)
        return false;
    for (size_t i = 0; i < words->count && i < top; i++)
        printf("%10ju  %.*s\n", (uintmax_t)sorted[i]->count, (int)sorted[i]->size, tally_word(words, sorted[i]));
    free(sorted);
    return true;
}

static void print_totals(const totals *of, const paths *unlisted)
{
    printf("%ju words (%zu different) in %ju files (%ju of them binary), %ju bytes; %zu unreadable\n",
           (uintmax_t)of->words.words, of->words.count, (uintmax_t)of->files, (uintmax_t)of->binaries, (uintmax_t)of->bytes,
           unlisted->count + of->unreadable.count);
    print_list(unlisted);
    print_list(&of->unreadable);
}

/* How long each way took, in seconds. */
typedef struct timing {
    double serially, in_pool;
} timing;

static bool count_both_ways(const paths *files, const settings *chosen, totals *pooled, totals *serial, timing *took)
{
    mp_error error;
    double begin = now();
    if (!count_in_pool(files, (int)chosen->workers, chosen->chunksize, pooled, &error)) {
        mp_perror(&error);
        return false;
    }
    took->in_pool = now() - begin;

    begin = now();
    if (!count_serially(files, serial))
        return no_memory();
    took->serially = now() - begin;
    return true;
}

static void report_timing(const timing *took, long workers)
{
    printf("%.3f s serially, %.3f s in a pool of %d (opening it included): %.2f times as fast\n", took->serially,
           took->in_pool, workers ? (int)workers : mp_cpu_count(), took->serially / took->in_pool);
}

/* Reads every file once, so that neither way of counting has to wait for the disk. */
static void warm_up(const paths *files)
{
    content text = {0};
    for (size_t i = 0; i < files->count; i++)
        content_read(&text, files->items[i]);
    content_fini(&text);
}

/* Everything between the options and the exit code. */
static bool run(const settings *chosen, char **folders, paths *files, paths *unlisted, totals *pooled, totals *serial)
{
    if (!find_files(folders, files, unlisted))
        return no_memory();
    warm_up(files);
    timing took = {0};
    if (!count_both_ways(files, chosen, pooled, serial, &took))
        return false;
    if (!print_top(&pooled->words, (size_t)chosen->top))
        return no_memory();
    print_totals(pooled, unlisted);
    if (!pooled->files) {
        fputs("wordcount: not one file could be read\n", stderr);
        return false;
    }
    report_timing(&took, chosen->workers);
    bool equal = totals_equal(serial, pooled);
    puts(equal ? "both results are identical" : "THE RESULTS DIFFER");
    return equal;
}

int main(int argc, char **argv)
{
    settings chosen = parse_options(argc, argv);
    paths files = {0}, unlisted = {0};
    totals pooled = {0}, serial = {0};
    bool good = run(&chosen, argv + optind, &files, &unlisted, &pooled, &serial);
    if (fflush(stdout) || ferror(stdout)) {
        perror("wordcount: standard output");
        good = false;
    }
    totals_fini(&pooled);
    totals_fini(&serial);
    paths_fini(&files);
    paths_fini(&unlisted);
    return good ? 0 : 1;
}
