/* pool.map_async(f, items): a map that is not waited for. Results own their memory: one mp_free frees any number of them. */
#include <ctype.h>
#include <millpond.h>
#include <stdio.h>

static mp_status shout(const mp_str *text, mp_str *loud, mp_call *call)
{
    char *letters = mp_call_alloc(call, text->size);
    if (!letters)
        return mp_fail(call, MP_ENOMEM, "no memory for %zu letters", text->size);
    for (size_t i = 0; i < text->size; i++)
        letters[i] = (char)toupper((unsigned char)text->data[i]);
    *loud = (mp_str){letters, text->size};
    return MP_OK;
}
MP_TASK(shout, mp_str, mp_str);

int main(int argc, char **argv)
{
    (void)argv;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        mp_str words[] = {mp_str_of("fork"), mp_str_of("pipe"), mp_str_of("wait")}, loud[3] = {{0}};
        mp_async *shouts = mp_pool_map_async(pool, shout, words, 3);
        words[0] = mp_str_of("spoon"); /* too late to matter */

        if (mp_async_get(shouts, loud, MP_FOREVER) != MP_OK)
            error = *mp_async_error(shouts);
        for (int i = 0; i < 3; i++)
            printf("%s\n", loud[i].data ? loud[i].data : "nothing");
        mp_free(mp_str, loud, 3);
        mp_async_free(&shouts);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
