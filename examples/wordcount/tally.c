/* Open addressing with linear steps; at most half of the slots are taken. Slots hold indices of entries and entries hold places
 * in one block of letters, so a whole tally is three blocks of memory, whatever it counts. */
#include "examples/wordcount/tally.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
static uint32_t hash_of(const char *word, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)word[i]) * 1099511628211u;
    return (uint32_t)(hash >> 32 ^ hash);
}

/* The slot of a word: the one it is in, or the free one where it belongs. `slot_count` is a power of two, never full. */
static uint32_t *find_slot(const tally *in, const char *word, size_t size, uint32_t hash)
{
    for (size_t i = hash & (in->slot_count - 1);; i = (i + 1) & (in->slot_count - 1)) {
        uint32_t *slot = &in->slots[i];
        if (!*slot)
            return slot;
        const tally_entry *entry = &in->entries[*slot - 1];
        if (entry->hash == hash && entry->size == size && !memcmp(tally_word(in, entry), word, size))
            return slot;
    }
}

/* Room for one word more: an entry, a slot, and its letters. */
static bool grow_table(tally *table)
{
    size_t slot_count = table->slot_count ? 2 * table->slot_count : 1024;
    tally_entry *entries = realloc(table->entries, slot_count / 2 * sizeof *entries);
    if (!entries)
        return false;
    table->entries = entries;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < table->count; i++) {
        size_t slot = entries[i].hash & (slot_count - 1);
        while (slots[slot])
            slot = (slot + 1) & (slot_count - 1);
        slots[slot] = (uint32_t)i + 1;
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
    table->capacity = slot_count / 2;
    return true;
}

static bool grow_letters(tally *table)
{
    size_t capacity = table->letter_capacity ? 2 * table->letter_capacity : 4096;
    char *letters = realloc(table->letters, capacity);
    if (!letters)
        return false;
    table->letters = letters;
    table->letter_capacity = capacity;
    return true;
}

bool tally_add(tally *to, const char *word, size_t size, uint64_t count)
{
    if (to->count == to->capacity && !grow_table(to))
        return false;
    if (to->letter_capacity - to->letter_count < size && !grow_letters(to))
        return false;
    uint32_t hash = hash_of(word, size);
    uint32_t *slot = find_slot(to, word, size, hash);
    if (!*slot) {
        memcpy(to->letters + to->letter_count, word, size);
        to->entries[to->count++] = (tally_entry){.begin = to->letter_count, .size = (uint32_t)size, .hash = hash};
        to->letter_count += size;
        *slot = (uint32_t)to->count;
    }
    to->entries[*slot - 1].count += count;
    to->words += count;
    return true;
}

/* The letter in lower case, or 0. */
static char letter_of(char c)
{
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'z' ? lower : 0;
}

bool tally_text(tally *to, const char *text, size_t size)
{
    char word[WORD_MAX];
    size_t length = 0;
    for (size_t i = 0; i <= size; i++) {
        char letter = i < size ? letter_of(text[i]) : 0;
        if (letter) {
            if (length < WORD_MAX)
                word[length] = letter;
            length++;
        } else if (length) {
            if (length <= WORD_MAX && !tally_add(to, word, length, 1))
                return false;
            length = 0;
        }
    }
    return true;
}

bool tally_equal(const tally *a, const tally *b)
{
    if (a->count != b->count || a->words != b->words)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const tally_entry *entry = &a->entries[i];
        uint32_t slot = *find_slot(b, tally_word(a, entry), entry->size, entry->hash);
        if (!slot || b->entries[slot - 1].count != entry->count)
            return false;
    }
    return true;
}

static int by_count(const void *left, const void *right, void *words)
{
    const tally_entry *a = *(const tally_entry *const *)left, *b = *(const tally_entry *const *)right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    int order = memcmp(tally_word(words, a), tally_word(words, b), a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

const tally_entry **tally_sorted(const tally *words)
{
    const tally_entry **sorted = malloc((words->count + 1) * sizeof *sorted); /* one more: for no words at all */
    for (size_t i = 0; sorted && i < words->count; i++)
        sorted[i] = &words->entries[i];
    if (sorted)
        qsort_r(sorted, words->count, sizeof *sorted, by_count, (void *)words);
    return sorted;
}

void tally_fini(tally *words)
{
    free(words->entries);
    free(words->letters);
    free(words->slots);
    *words = (tally){0};
}
