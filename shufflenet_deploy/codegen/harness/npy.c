/* Input and output arrays: their memory, and .npy files (version 1, fp32, C order). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* In large pages if it is large, as arrays are that other runtimes are given. */
static float *allocate_image(void)
{
    const size_t bytes = net_input_floats * sizeof(float), large = 2u << 20;
    const size_t align = bytes >= 2 * large ? large : 64,
                 whole = (bytes + align - 1) / align * align;
    float *found = aligned_alloc(align, whole);
#ifdef MADV_HUGEPAGE
    if (found && align == large)
        (void)madvise(found, whole, MADV_HUGEPAGE);
#endif
    return found;
}

/* A shape as numpy writes it: "(1, 3, 224, 224)". */
static const char *shape_text(char *text, size_t size, const int *shape, int rank)
{
    size_t length = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < rank; ++i)
        length += (size_t)snprintf(text + length, size - length, i ? ", %d" : "%d", shape[i]);
    snprintf(text + length, size - length, rank == 1 ? ",)" : ")");
    return text;
}

static void load_image(const char *path)
{
    unsigned char head[10];
    char header[1024], wanted[80];
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("usage", "%s cannot be read as .npy: %s", path, strerror(errno));
    size_t length = 0;
    if (fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, "\x93NUMPY\x01", 7) == 0)
        length = head[8] + 256u * head[9];
    if (length == 0 || length >= sizeof header || fread(header, 1, length, file) != length)
        fail("usage", "%s cannot be read as .npy: it is none of version 1", path);
    header[length] = 0;
    shape_text(wanted, sizeof wanted, input_shape, COUNT(input_shape));
    if (!strstr(header, "'<f4'") || strstr(header, "True"))
        fail("usage", "%s is not of float32 in C order", path);
    if (!strstr(header, wanted))
        fail("usage", "%s has another shape than the model's input, %s", path, wanted);
    if (fread(input, sizeof *input, net_input_floats, file) != net_input_floats)
        fail("usage", "%s ends early", path);
    fclose(file);
}

/* Write the logits whole or not at all. */
static void write_logits(const char *path)
{
    char partial[4096], shape[80], header[128];
    snprintf(partial, sizeof partial, "%s.partial", path);
    int length =
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
                 shape_text(shape, sizeof shape, output_shape, COUNT(output_shape)));
    const int whole = 118; /* with the ten bytes before it, a multiple of 64 */
    memset(header + length, ' ', (size_t)(whole - 1 - length));
    header[whole - 1] = '\n';
    FILE *file = fopen(partial, "wb");
    const int good = file && fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file) == 10 &&
                     fwrite(header, 1, (size_t)whole, file) == (size_t)whole &&
                     fwrite(output, sizeof *output, net_output_floats, file) == net_output_floats;
    if (!file || fclose(file) != 0 || !good || rename(partial, path) != 0) {
        const int error = errno;
        unlink(partial);
        fail("usage", "cannot write %s: %s", path, strerror(error));
    }
}
