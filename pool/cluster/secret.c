/* Challenge and response: SipHash-2-4 (Aumasson, Bernstein 2012) of the challenge, under a key made of the secret.
 *
 * It keeps out who came to the wrong port, and a job of somebody else's. It is no protection against an attacker on the network: what is
 * said after it is neither encrypted nor signed, the answer has 64 bits, and a short secret can be guessed. Set by mp_main, before any
 * thread of ours; read by any thread. */
#include "pool/cluster/secret.h"
#include "pool/clock.h"
#include "pool/process_id.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static uint64_t key[2];
static bool is_set;

static inline uint64_t turned(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void round_of(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = turned(v[1], 13) ^ v[0];
    v[0] = turned(v[0], 32);
    v[2] += v[3];
    v[3] = turned(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = turned(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = turned(v[1], 17) ^ v[2];
    v[2] = turned(v[2], 32);
}

static uint64_t siphash(const uint64_t with[2], const uint64_t *words, size_t count)
{
    uint64_t v[4] = {with[0] ^ 0x736f6d6570736575u, with[1] ^ 0x646f72616e646f6du, with[0] ^ 0x6c7967656e657261u,
                     with[1] ^ 0x7465646279746573u};
    for (size_t i = 0; i <= count; i++) {
        uint64_t word = i < count ? words[i] : (uint64_t)(count * 8) << 56;
        v[3] ^= word;
        round_of(v);
        round_of(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        round_of(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The text in words, under two keys that everybody knows: a key of 128 bits. */
static void make_key(const char *text)
{
    uint64_t words[64] = {0};
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) /* what is longer than this goes round */
        words[i / 8 % 64] ^= (uint64_t)(unsigned char)text[i] << i % 8 * 8;
    for (uint64_t i = 0; i < 2; i++)
        key[i] = siphash((const uint64_t[2]){i, length}, words, 64);
}

void mp__secret_take(void)
{
    const char *text = getenv("MILLPOND_SECRET");
    if (!text || !*text)
        return;
    make_key(text);
    is_set = true;
    unsetenv("MILLPOND_SECRET");
}

bool mp__secret_is_set(void)
{
    return is_set;
}

uint64_t mp__secret_answer(uint64_t nonce, mp__secret_side side)
{
    return siphash(key, (const uint64_t[2]){nonce, side}, 2);
}

uint64_t mp__secret_nonce(void)
{
    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, GRND_NONBLOCK) != sizeof nonce)
        nonce = siphash((const uint64_t[2]){mp__now(), (uint64_t)(uint32_t)mp__process_id()},
                        &(uint64_t){(uintptr_t)&nonce}, 1);
    return nonce;
}
