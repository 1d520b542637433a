/* tunnel_echo PLUGIN [MODE...]: a tunnel alone, under a launcher: agents open streams, the root echoes or checks, and each mode says
 * one line, "ok MODE ..." or why not. Started on every rank with the same arguments. Exit code 0: all is well.
 *
 *   many       each agent opens STREAMS streams at once, sends random bytes in random pieces over each, and gets them back
 *   closes     streams that are closed in every order: half, at once, before anything, with bytes unread at either side
 *   stops      the root does not read: an agent gets no more than a window and the sockets into a stream, and everything arrives
 *   large      GIB (3) GiB through one stream, checked
 *   latency    64 bytes there and back, and what an idle tunnel takes of a CPU
 *   lose       the last agent kills itself; the others' streams go on, and all leave without MPI_Finalize (not one of the default) */
#include "tests/cluster/tunnel_echo.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mode {
    const char *name;
    void (*agent)(tunnel_end *);
    void (*root)(tunnel_end *);
} modes[] = {
    {"many", many_agent, many_root},    {"closes", closes_agent, closes_root},    {"stops", stops_agent, stops_root},
    {"large", large_agent, large_root}, {"latency", latency_agent, latency_root}, {"lose", lose_agent, lose_root},
};
enum { MODES = sizeof modes / sizeof *modes, BY_DEFAULT = MODES - 1 };

static void write_word(int fd, void *bytes, size_t size)
{
    write_all(fd, bytes, size);
}

/* Nobody begins a mode while another is in the last: the root would take its streams for those. */
static void meet(tunnel_end *end)
{
    char word = '!';
    for (int i = 0; i < end->words_count; i++)
        (end->rank == 0 ? read_all : write_word)(end->words[i], &word, 1);
    for (int i = 0; i < end->words_count; i++)
        (end->rank == 0 ? write_word : read_all)(end->words[i], &word, 1);
}

static void run(const char *name, tunnel_end *end)
{
    meet(end);
    for (int i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0) {
            (end->rank == 0 ? modes[i].root : modes[i].agent)(end);
            return;
        }
    fail("there is no mode '%s'", name);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        fail("tunnel_echo PLUGIN [MODE...]");
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    const mp__tunnel *tunnel = library ? dlsym(library, "mp__tunnel_plugin") : NULL;
    if (!tunnel || tunnel->abi != MP__TUNNEL_ABI)
        fail("%s: %s", argv[1], library ? "not a plugin" : dlerror());
    tunnel_end end = {.tunnel = tunnel};
    mp_error error;
    if (tunnel->open(NULL, &end.rank, &end.size, &end.door, &error) != MP_OK)
        fail("open: %s", error.message);
    end.words_count = end.rank == 0 ? end.size - 1 : 1;
    for (int i = 0; i < end.words_count; i++)
        end.words[i] = end.rank == 0 ? stream_take(&end, NULL) : stream_open(&end);
    for (int i = 2; i < argc; i++)
        run(argv[i], &end);
    for (int i = 0; i < BY_DEFAULT && argc == 2; i++)
        run(modes[i].name, &end);
    for (int i = 0; i < end.words_count; i++)
        close(end.words[i]);
    double start = seconds();
    if (tunnel->close(end.lost, MP_OK) != (end.lost ? MP_ELOST : MP_OK))
        fail("the tunnel does not say what became of it");
    close(end.door);
    if (end.rank == 0)
        printf("ok close %d ranks, %.0f ms, %s\n", end.size, (seconds() - start) * 1e3, tunnel->name);
    return 0;
}
