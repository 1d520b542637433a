/* Pools of programs that are MPI programs already: mpi4py's MPICommExecutor.
 *
 *     int main(int argc, char **argv)
 *     {
 *         mp_main_mpi(argc, argv);                               // not mp_main, which is for programs that leave MPI to us
 *         MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
 *         MPI_Comm comm = MPI_COMM_WORLD;
 *         ...                                                    // an MPI program, on all ranks
 *         if (mp_pool_open_comm(&pool, &comm, .error = &error))  // all ranks of comm
 *             return mp_perror(&error), MPI_Abort(comm, 1);
 *         if (pool)                                              // rank 0: the others are in the call above until it frees it
 *             mp_pool_map(pool, integrate, items, 10000, areas);
 *         mp_pool_free(&pool);
 *         ...                                                    // an MPI program, on all ranks
 *         MPI_Finalize();
 *     }
 *
 * A program that has nothing to do with MPI needs none of this to run on several hosts: see MP_CLUSTER in pool.h. */
#ifndef MILLPOND_COMM_H
#define MILLPOND_COMM_H
#include <millpond/main.h>

MP__BEGIN
/* mp_pool_open_comm(&pool, &comm, .processes = 64, .error = &error), with the options of mp_pool_open: collective over the
 * communicator. On rank 0 `*pool` is given: a pool of kind MP_CLUSTER with workers on every rank, its own included, as many as that
 * rank may use CPUs, or `.processes` in all. On every other rank `*pool` is NULL, and the call serves as that pool's agent until
 * rank 0 has freed it; then it returns, and MPI goes on on all ranks. It may be called again, with this or another communicator,
 * and whoever was an agent may be rank 0 of that one. MPICommExecutor's __enter__ and __exit__ are this and mp_pool_free; there a
 * task runs in the rank's own process, here never.
 *
 * `comm` points to an MPI_Comm, an intracommunicator, and is borrowed for the call: it is duplicated, and the duplicate freed with
 * the pool. One of one rank (MPI_COMM_SELF) is fine. Options are rank 0's. `.kind` is 0 or MP_CLUSTER; MILLPOND does not change it.
 * `.argc` and `.argv` have to be left out. `.error` is each rank's own, and so is `.start_method`, of the workers on that rank:
 *     MP_FORKSERVER, MP_SPAWN   executed: they hold nothing of MPI's. The default where mp_main_mpi was called, which they need
 *     MP_FORK                   copied from the rank's process when the pool opens: they see what it had in memory by then, and
 *                               have what MPI had mapped, which nobody uses there. The default otherwise. Shared memory and TCP do
 *                               not mind; an RDMA fabric may mind the fork of a process that has registered memory: see your MPI
 *
 * MPI has to be initialized with MPI_THREAD_MULTIPLE. MPI_THREAD_SERIALIZED is enough where rank 0 makes no MPI call, on any
 * communicator, from this call to the end of mp_pool_free, for a thread of the library makes some; and no other rank from another
 * thread, until the call returns. The library's plugin for this MPI (docs/cluster.md) is found by which MPI the program has
 * loaded, else by the launcher; MILLPOND_MPI overrules.
 *
 * Free the pool before MPI_Finalize, and not from a callback or task of its own: the other ranks come back when it has been freed,
 * which takes moments. Other MP_CLUSTER pools that rank 0 opens meanwhile have these agents, too: free them first. A process has
 * one pool over a communicator at a time. It keeps its environment and its CPUs: set OMP_NUM_THREADS for workers beforehand.
 *
 * Blocks until all ranks of `comm` have called it, in MPI, which takes a CPU; then, on ranks other than 0, asleep, until the pool is
 * freed. From any thread that may call MPI; no cancellation point. Statuses are the same on all ranks, and the message says whose
 * fault it was:
 * - MP_OK: there is a pool; on other ranks, it has been served to its end. MP_ELOST there: rank 0 is not heard of any more.
 * - MP_EINVAL: no `comm`, MPI_COMM_NULL, or an intercommunicator; no `pool`, on rank 0; an option that cannot be.
 * - MP_ERUNNING: this process has such a pool already, or is the root of other agents by MILLPOND_CLUSTER.
 * - MP_ELAUNCH: MPI is not initialized, or finalized; its thread level is too low; no MPI is loaded that there is a plugin for, or
 *   another than MILLPOND_MPI names; mp_main was called, and has made agents of the other ranks.
 * - MP_EMISMATCH: a rank's program is another build, with the first task that differs; or the plugin is of another version.
 * - MP_ESYSTEM: the plugin cannot be loaded, no descriptor, no thread. And those of mp_pool_open.
 * Where a rank cannot speak to the others, these wait in MPI for it: it has no plugin, or no MPI that is initialized, or another
 * `comm`; a level below MPI_THREAD_SERIALIZED, on another thread than the main one; at that level, such a pool already. */
MP__API mp_status mp_pool_open_comm_with(mp_pool **pool, void *comm, const mp_pool_options *options)
    __attribute__((warn_unused_result));
MP__END

#ifndef __cplusplus

#define mp_pool_open_comm(pool, ...) MP__POOL_OPEN_COMM(pool, __VA_ARGS__, .mp__end = 0)
/* An MPI_Comm in the place of its address has nothing behind it that has a size: a diagnostic. */
#define MP__POOL_OPEN_COMM(pool, comm, ...)                                                                                \
    mp_pool_open_comm_with((pool), ((void)sizeof *(comm), (void *)(comm)), &(mp_pool_options){__VA_ARGS__})

#endif /* C */
#endif
