/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stands in for libFuzzer where inputs are only replayed: runs every file named on the command line,
 * and says what the harness made of it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern const char *vof_fuzz_verdict;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        return 1;
    }
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size ? size : 1); /* exact, so that the sanitizer sees its end */
    if (!data || fread(data, 1, size, file) != size) {
        perror(path);
        return 1;
    }
    fclose(file);
    fprintf(stderr, "replaying %s\n", path);
    vof_fuzz_verdict = "nothing";
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    printf("%s %s\n", vof_fuzz_verdict, path);
    return 0;
}

int main(int count, char **paths)
{
    for (int i = 1; i < count; i++)
        if (replay(paths[i]))
            return 1;
    return 0;
}
