/* What /proc says of a process. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H
#include "bench/measure.h"

/* The number behind `word:` in /proc/PID/FILE. */
static inline double number_of(long pid, const char *file, const char *name)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
    FILE *in = fopen(path, "r");
    if (!in)
        give_up(path);
    double found = 0;
    size_t length = strlen(name);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            found = strtod(line + length + 1, NULL);
    (void)fclose(in);
    return found;
}

/* What is in KiB there, in bytes. */
static inline double kib_of(long pid, const char *file, const char *name)
{
    return number_of(pid, file, name) * 1024;
}
#endif
