/* Who has started this program, and as what: the user by hand (MILLPOND_AGENT, MILLPOND_CLUSTER), or an MPI's launcher, of which there is a
 * plugin (tunnel.h). Runs in mp_main, before any thread of ours, and takes what it has found out of the environment, so that what tasks
 * start is none of it. A program that has begun MPI itself is asked which one it is, when it wants a pool over it (comm.c).
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

/* fixed by mp_main */
static const mp__tunnel *tunnel;
static pid_t opener;   /* of the tunnel */
static char told[512]; /* MILLPOND_MPI, as the user has set it */

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

static const char openmpi[] = "millpond-mpi-openmpi.so", mpich[] = "millpond-mpi-mpich.so";

static const char *plugin_named(const char *name)
{
    return strcmp(name, "openmpi") == 0 ? openmpi : strcmp(name, "mpich") == 0 ? mpich : name;
}

/* The plugin for the launcher that has started us; NULL: none has, or for one rank. */
static const char *plugin_of_launcher(void)
{
    if (says_more_than_one("OMPI_COMM_WORLD_SIZE") || (set("PMIX_RANK") && says_more_than_one("SLURM_STEP_NUM_TASKS")))
        return openmpi;
    return set("PMI_RANK") && says_more_than_one("PMI_SIZE") ? mpich : NULL;
}

static const char *find_plugin(void)
{
    const char *name = set("MILLPOND_MPI");
    if (name)
        return strcmp(name, "none") == 0 ? NULL : plugin_named(name);
    return plugin_of_launcher();
}

/* NULL: none is loaded, or one that we do not know. This may be called before MPI begins, by any thread, and has no argument that differs
 * between them. */
static const char *plugin_of_program(void)
{
    enum { TEXT = 8192 }; /* MPICH's; Open MPI's is shorter */
    char text[TEXT] = "";
    int length = 0;
    int (*version)(char *, int *);
    void *symbol = dlsym(RTLD_DEFAULT, "MPI_Get_library_version");
    memcpy(&version, &symbol, sizeof version);
    if (!symbol || version(text, &length) != 0)
        return NULL;
    return strstr(text, "Open MPI") ? openmpi : strstr(text, "MPICH") ? mpich : NULL;
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

static mp_status load(const char *plugin, const mp__tunnel **loaded, mp_error *error)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    const mp__tunnel *found = library ? dlsym(library, "mp__tunnel_plugin") : NULL;
    const char *why = dlerror();
    if (!found)
        return mp__failure(
            error, MP_ESYSTEM,
            "what carries a pool between the ranks of this program, %.80s, cannot be loaded: %.200s (install it, or "
            "name it in MILLPOND_MPI; mp_main leaves ranks alone where that is none)",
            plugin, why ? why : "it has no mp__tunnel_plugin");
    if (found->abi != MP__TUNNEL_ABI)
        return mp__failure(error, MP_EMISMATCH, "%.80s is of another version of millpond than %s", plugin, mp_version());
    *loaded = found;
    return MP_OK;
}

/* None is what mp_main has set for what tasks start, one of which may be an MPI program. */
mp_status mp__launcher_get_tunnel(const mp__tunnel **found, mp_error *error)
{
    const char *name = *told ? told : set("MILLPOND_MPI");
    const char *plugin = name && strcmp(name, "none") != 0 ? plugin_named(name) : plugin_of_program();
    if (!plugin)
        plugin = plugin_of_launcher();
    if (plugin)
        return load(plugin, found, error);
    return mp__failure(error, MP_ELAUNCH,
                       "no MPI that is known here is loaded in this program: link it to Open MPI or MPICH, or name the "
                       "plugin for its MPI in MILLPOND_MPI");
}

/* For what tasks start. */
static void hide_job(void)
{
    snprintf(told, sizeof told, "%s", set("MILLPOND_MPI") ? getenv("MILLPOND_MPI") : "");
    setenv("MILLPOND_MPI", "none", 1);
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
    mp_status status = load(plugin, &tunnel, &error);
    hide_job();
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

/* Whichever comes first. */
static bool is_first(void)
{
    static bool done;
    bool first = !done;
    done = true;
    return first;
}

void mp__launcher_in_main_mpi(void)
{
    if (!is_first())
        return;
    mp__secret_take();
    hide_job();
}

void mp__launcher_in_main(void)
{
    mp_error error;
    if (!is_first())
        return;
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
