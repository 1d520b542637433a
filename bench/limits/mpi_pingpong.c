/* mpi_pingpong [CALLS]: 16 bytes to another rank and back. As MPI has no descriptor to wait for, both look, and give way between looks. */
#include "bench/measure.h"
#include <mpi.h>
#include <sched.h>

enum { BYTES = 16, TALK = 1, END = 2 };

/* What it was: TALK or END. */
static int await(char *message, int from)
{
    MPI_Status status;
    int there = 0;
    for (;;) {
        (void)MPI_Iprobe(from, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &status);
        if (there)
            break;
        (void)sched_yield();
    }
    (void)MPI_Recv(message, BYTES, MPI_BYTE, from, status.MPI_TAG, MPI_COMM_WORLD, &status);
    return status.MPI_TAG;
}

static void echo(void)
{
    char message[BYTES];
    while (await(message, 0) == TALK)
        (void)MPI_Send(message, BYTES, MPI_BYTE, 0, TALK, MPI_COMM_WORLD);
}

static void ask(size_t calls)
{
    double *took = memory(calls, sizeof *took);
    char message[BYTES] = {0};
    for (size_t i = 0; i < calls; i++) {
        double begin = now();
        (void)MPI_Send(message, BYTES, MPI_BYTE, 1, TALK, MPI_COMM_WORLD);
        (void)await(message, 1);
        took[i] = now() - begin;
    }
    (void)MPI_Send(message, BYTES, MPI_BYTE, 1, END, MPI_COMM_WORLD);
    report("p50", median(took, calls) * 1e6, "us");
    report("p99", took[calls * 99 / 100] * 1e6, "us");
    free(took);
}

int main(int argc, char **argv)
{
    int rank = 0;
    (void)MPI_Init(&argc, &argv); /* who cannot go on is ended by MPI */
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0)
        ask((size_t)number(argc, argv, 1, 10000));
    else
        echo();
    (void)MPI_Finalize();
}
