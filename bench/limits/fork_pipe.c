/* fork_pipe [MIB]: two children are forked and say so through a pipe each; the first one is asked and answers. In a program that has
 * so much memory. */
#include "bench/measure.h"
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 9 };

typedef struct {
    int to, from;
    pid_t pid;
} child;

static child start(const child *older)
{
    int tasks[2], results[2];
    if (pipe(tasks) != 0 || pipe(results) != 0)
        give_up("pipe");
    child new = {.to = tasks[1], .from = results[0], .pid = fork()};
    if (new.pid == 0) {
        char byte = 'h';
        close(tasks[1]);
        if (older)
            close(older->to);
        do
            (void)!write(results[1], &byte, 1);
        while (read(tasks[0], &byte, 1) == 1);
        _exit(0);
    }
    close(tasks[0]);
    close(results[1]);
    return new;
}

int main(int argc, char **argv)
{
    size_t mib = (size_t)number(argc, argv, 1, 0);
    void *resident = mib ? memory(mib << 20, 1) : NULL;
    double took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        child children[WORKERS];
        char byte;
        double begin = now();
        for (int k = 0; k < WORKERS; k++)
            children[k] = start(k ? &children[0] : NULL);
        for (int k = 0; k < WORKERS; k++)
            if (read(children[k].from, &byte, 1) != 1)
                give_up("read");
        if (write(children[0].to, &byte, 1) != 1 || read(children[0].from, &byte, 1) != 1)
            give_up("ask");
        took[round] = now() - begin;
        for (int k = 0; k < WORKERS; k++) {
            close(children[k].to);
            close(children[k].from);
            (void)waitpid(children[k].pid, NULL, 0);
        }
    }
    report("first-result", median(took, ROUNDS) * 1e6, "us");
    free(resident);
}
