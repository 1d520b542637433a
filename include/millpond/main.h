/* mp_main: what a program with MP_SPAWN, MP_FORKSERVER or MP_CLUSTER pools calls first; mp_main_mpi, if it is an MPI program itself. */
#ifndef MILLPOND_MAIN_H
#define MILLPOND_MAIN_H
#include <millpond/pool.h>

MP__BEGIN
/* In a process that a pool has executed to be a worker, becomes one and does not return. In any other it notes the program's
 * arguments and which file it is executed from, holding that open, so that pools can execute it again (also when it was replaced
 * or deleted meanwhile), and returns. First in `main`, before anything that a worker must not do, and after loading what
 * registers tasks (dlopen): workers must find the same tasks, or the pool is refused with MP_EMISMATCH and the name of the first
 * that differs. May be called again. Without it MP_SPAWN and MP_FORKSERVER are refused; other pools do not need it.
 *
 * A program that is executed again has the same arguments, environment and working directory, an empty standard input, and no
 * other descriptor than standard output and error. Its constructors run, and what stands before mp_main. Should it open a pool
 * there, of any kind, that is refused with MP_EINVAL: it would execute itself without end. `argv` is copied.
 * For MP_CLUSTER (pool.h) it finds out what this process is: one that is to be an agent serves here, and does not return.
 * Python: if __name__ == "__main__", multiprocessing.freeze_support. */
MP__API void mp_main(int argc, char **argv);

/* mp_main of a program that initializes MPI itself (comm.h): all that mp_main does, but no rank becomes an agent here, for it is
 * mp_pool_open_comm that says which one is, and until when. First in `main`, before MPI_Init_thread: a process that a pool has executed to be
 * a worker becomes one here; it is no rank, and must not come to MPI. From what tasks start it takes what the launcher has said (it sets
 * MILLPOND_MPI=none): a program of this library among them is none of the job.
 * A program may do without: then its workers are forked; comm.h says what that means. */
MP__API void mp_main_mpi(int argc, char **argv);
MP__END
#endif
