/* What the modes of tunnel_echo share: one end of a tunnel, streams by its door, and bytes that can be checked. */
#ifndef MP__TESTS_CLUSTER_TUNNEL_ECHO_H
#define MP__TESTS_CLUSTER_TUNNEL_ECHO_H
#include "pool/cluster/tunnel.h"
#include <stddef.h>

typedef struct tunnel_end {
    const mp__tunnel *tunnel;
    int rank, size, door;
    bool lost;
    int words[256], words_count; /* a stream for each pair, by which they meet before each mode */
} tunnel_end;

/* Says it with the rank's process, and ends that. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double seconds(void);

/* The agent's: a new stream. The root's: one that has come, and whose. */
int stream_open(tunnel_end *end);
int stream_take(tunnel_end *end, int *rank);

void write_all(int fd, const void *bytes, size_t size);
void read_all(int fd, void *bytes, size_t size);
bool at_end(int fd); /* waits for it; false: something else came */

/* Bytes that follow from a seed and their place. */
void bytes_make(unsigned char *bytes, size_t size, uint64_t seed, uint64_t place);
uint64_t random_next(uint64_t *state);

void many_agent(tunnel_end *);
void many_root(tunnel_end *);
void closes_agent(tunnel_end *);
void closes_root(tunnel_end *);
void stops_agent(tunnel_end *);
void stops_root(tunnel_end *);
void large_agent(tunnel_end *);
void large_root(tunnel_end *);
void latency_agent(tunnel_end *);
void latency_root(tunnel_end *);
void lose_agent(tunnel_end *);
void lose_root(tunnel_end *);
#endif
