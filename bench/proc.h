/* What /proc says of memory, in bytes. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H
#include "bench/measure.h"

/* The number behind `word:` in /proc/PID/FILE, in KiB there. */
static inline double kib_of(long pid, const char *file, const char *name)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
    FILE *in = fopen(path, "r");
    if (!in)
        give_up(path);
    double kib = 0;
    size_t length = strlen(name);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            kib = strtod(line + length + 1, NULL);
    (void)fclose(in);
    return kib * 1024;
}
#endif
