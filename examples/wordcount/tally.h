/* How often each word occurred: a hash table from a word to a count. A word is a run of 1 to WORD_MAX ASCII letters, in lower
 * case; what is longer is encoded data, and no word. */
#ifndef WORDCOUNT_TALLY_H
#define WORDCOUNT_TALLY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORD_MAX = 64 };

typedef struct tally_entry {
    size_t begin; /* of the word, in the tally's letters */
    uint32_t size, hash;
    uint64_t count;
} tally_entry;

/* All zero is an empty one. */
typedef struct tally {
    tally_entry *entries; /* owned, in the order in which the words came */
    size_t count, capacity;
    char *letters; /* owned; every word, one after the other */
    size_t letter_count, letter_capacity;
    uint32_t *slots; /* owned; 0: free, else 1 + the index of an entry */
    size_t slot_count;
    uint64_t words; /* the sum of all counts */
} tally;

/* An entry's word: `size` letters, without a final zero. */
static inline const char *tally_word(const tally *of, const tally_entry *entry)
{
    return of->letters + entry->begin;
}

/* Adds `count` occurrences of a word. False: no memory, and nothing was added. */
bool tally_add(tally *to, const char *word, size_t size, uint64_t count);

/* Adds every word of a text. False: no memory. */
bool tally_text(tally *to, const char *text, size_t size);

/* The same words, as often. */
bool tally_equal(const tally *a, const tally *b);

/* The entries, the most frequent words first, those of one frequency in alphabetical order. Given: free it. NULL: no memory. */
const tally_entry **tally_sorted(const tally *words);

/* Frees what it owns, and leaves it empty. */
void tally_fini(tally *words);

#endif
