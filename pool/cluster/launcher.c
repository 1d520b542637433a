/* Who has started this program, and as what: the user by hand (MILLPOND_AGENT, MILLPOND_CLUSTER), or an MPI's launcher, of which there is a
 * plugin (tunnel.h). Runs in mp_main, before any thread of ours, and takes what it has found out of the environment, so that what tasks
 * start is none of it.
 *
 * A launcher whose plugin is missing leaves the program as it is, for it may be an MPI program that has pools of its own; but a pool that is
 * to span the job says so, instead of being N local ones. */
#include "pool/cluster/launcher.h"
#include "pool/cluster/agent.h"
#include "pool/cluster/hall.h"
#include "pool/cluster/node.h"
#include "pool/cluster/secret.h"
#include "pool/cluster/tunnel.h"
#include "pool/failure.h"
#include "pool/process_id.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mp__tunnel *tunnel;
static pid_t opener; /* of the tunnel */

static const char *set(const char *variable)
{
    const char *text = getenv(variable);
    return text && *text ? text : NULL;
}

static bool says_more_than_one(const char *variable)
{
    const char *text = set(variable);
    return text && strtol(text, NULL, 10) > 1;
}

/* The plugin for the launcher that has started us; NULL: none has, or for one rank. */
static const char *find_plugin(void)
{
    static const char openmpi[] = "millpond-mpi-openmpi.so", mpich[] = "millpond-mpi-mpich.so";
    const char *told = set("MILLPOND_MPI");
    if (told && strcmp(told, "openmpi") != 0 && strcmp(told, "mpich") != 0)
        return strcmp(told, "none") == 0 ? NULL : told;
    if (told)
        return strcmp(told, "openmpi") == 0 ? openmpi : mpich;
    if (says_more_than_one("OMPI_COMM_WORLD_SIZE") || (set("PMIX_RANK") && says_more_than_one("SLURM_STEP_NUM_TASKS")))
        return openmpi;
    return set("PMI_RANK") && says_more_than_one("PMI_SIZE") ? mpich : NULL;
}

/* Each rank would be alone, and compute everything. */
static bool is_unintroduced(void)
{
    return !set("MILLPOND_MPI") && says_more_than_one("SLURM_STEP_NUM_TASKS") && !set("PMI_RANK") && !set("PMIX_RANK") &&
           !set("OMPI_COMM_WORLD_RANK");
}

static mp_status explain_unintroduced(mp_error *error)
{
    return mp__failure(
        error, MP_ELAUNCH,
        "srun has started %.20s processes that do not know each other: start them with srun --mpi=pmix (Open "
        "MPI) or --mpi=pmi2 (MPICH), or set MILLPOND_MPI=none for a pool in each of them",
        set("SLURM_STEP_NUM_TASKS"));
}

static mp_status load(const char *plugin, mp_error *error)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    const mp__tunnel *found = library ? dlsym(library, "mp__tunnel_plugin") : NULL;
    const char *why = dlerror();
    if (!found)
        return mp__failure(
            error, MP_ESYSTEM,
            "this program was started as a job of several ranks, but %.80s cannot be loaded: %.200s (install it, "
            "name it in MILLPOND_MPI, or set MILLPOND_MPI=none)",
            plugin, why ? why : "it has no mp__tunnel_plugin");
    if (found->abi != MP__TUNNEL_ABI)
        return mp__failure(error, MP_EMISMATCH, "%.80s is of another version of millpond than %s", plugin, mp_version());
    tunnel = found;
    return MP_OK;
}

/* A child that the program has forked may call exit, too: it has no hall, and the tunnel's thread is not there. */
static void close_tunnel(void)
{
    if (mp__process_id() != opener)
        return;
    mp__hall_close();
    (void)tunnel->close(mp__hall_has_lost(), MP_OK);
}

static void join_job(const char *plugin)
{
    mp_error error;
    int rank = 0, size = 1, door = -1;
    mp_status status = load(plugin, &error);
    setenv("MILLPOND_MPI", "none", 1); /* for what tasks start */
    if (!status) {
        mp__node_prepare();
        status = tunnel->open(NULL, &rank, &size, &door, &error);
    }
    if (!status && rank > 0) {
        int code = mp__agent_serve_door(door, rank, MP_FORKSERVER);
        (void)tunnel->close(code != 0 || mp__hall_has_lost(), MP_OK);
        exit(code);
    }
    if (!status)
        status = mp__hall_open_door(door, (uint32_t)size - 1, &error);
    opener = mp__process_id();
    if (status)
        mp__hall_refuse(&error);
    else
        atexit(close_tunnel);
}

/* Workers and what tasks start have this environment: another program of ours among it would be an agent of our root, too, and stay. */
static int be_agent(const char *text)
{
    char address[512];
    snprintf(address, sizeof address, "%s", text);
    unsetenv("MILLPOND_AGENT");
    unsetenv("MILLPOND_CLUSTER");
    setenv("MILLPOND_MPI", "none", 1);
    return mp__agent_serve(address);
}

void mp__launcher_in_main(void)
{
    static bool done;
    mp_error error;
    if (done)
        return;
    done = true;
    mp__secret_take();
    const char *agent = set("MILLPOND_AGENT"), *cluster = set("MILLPOND_CLUSTER"), *plugin = find_plugin();
    bool unintroduced = is_unintroduced();
    if (agent)
        exit(be_agent(agent));
    if (cluster && mp__hall_open(cluster, &error) != MP_OK)
        mp__hall_refuse(&error);
    unsetenv("MILLPOND_CLUSTER");
    if (!cluster && unintroduced && explain_unintroduced(&error))
        mp__hall_refuse(&error);
    if (!cluster && plugin)
        join_job(plugin);
}
