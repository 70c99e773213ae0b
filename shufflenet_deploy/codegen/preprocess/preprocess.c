/* From an image of any size to the input of the network: scaled by a triangle filter that widens with
   the factor (bilinear with antialiasing), the centre cropped, normalised. The bytes between are those
   of Pillow's Image.resize with BILINEAR: weights of 22 bits, first along rows, rounded to bytes, then
   along columns. Each of the two roundings moves a byte by a half at most, and weights add up to 1, so
   that no byte is further than 1 from the filter's exact value. */

enum { WEIGHT_BITS = 22, CHANNELS = 3, HEIGHT = PREPROCESS_HEIGHT, WIDTH = PREPROCESS_WIDTH };

static const double crop_fraction = PREPROCESS_CROP_FRACTION;
static const float range_low = PREPROCESS_LOW, range_step = PREPROCESS_STEP;
static const float mean[] = {PREPROCESS_MEAN}, std[] = {PREPROCESS_STD};

/* One axis of an image of `from` pixels that becomes `to`, of which `count` from `first` are kept. */
struct axis {
    int from, to, first, count;
    int taps;          /* room for the weights of one pixel */
    int *begin, *size; /* of the source pixels that one pixel is made of */
    int32_t *weights;
};

static int ceiling(double value)
{
    const int whole = (int)value;
    return whole + (value > whole);
}

/* To the nearest, halves to even. */
static int rounded(double value)
{
    const int whole = (int)value;
    const double rest = value - whole;
    return whole + (rest > 0.5 || (rest == 0.5 && whole % 2 != 0));
}

static double support(const struct axis *axis)
{
    return axis->from > axis->to ? (double)axis->from / axis->to : 1.0;
}

/* A side that is no longer than the aspect ratio allows beside the other. */
static int limited(int side, int other)
{
    const int64_t most = (int64_t)PREPROCESS_ASPECT * other;
    return side < most ? side : (int)most;
}

/* The part of the image that is scaled, and what it becomes; -1 for no image. */
static int plan(int height, int width, struct axis *rows, struct axis *columns, int *top, int *left)
{
    if (height < 1 || width < 1 || height > PREPROCESS_MOST_PIXELS / width)
        return -1;
    const int limited_height = limited(height, width), limited_width = limited(width, height);
    *top = (height - limited_height) / 2;
    *left = (width - limited_width) / 2;
    const double by_height = (double)HEIGHT / limited_height, by_width = (double)WIDTH / limited_width;
    const double scale = (by_height > by_width ? by_height : by_width) / crop_fraction;
    int to_height = rounded(limited_height * scale), to_width = rounded(limited_width * scale);
    to_height = to_height > HEIGHT ? to_height : HEIGHT;
    to_width = to_width > WIDTH ? to_width : WIDTH;
    *rows = (struct axis){
        .from = limited_height, .to = to_height, .first = (to_height - HEIGHT) / 2, .count = HEIGHT};
    *columns = (struct axis){
        .from = limited_width, .to = to_width, .first = (to_width - WIDTH) / 2, .count = WIDTH};
    rows->taps = ceiling(support(rows)) * 2 + 1;
    columns->taps = ceiling(support(columns)) * 2 + 1;
    return 0;
}

static size_t axis_bytes(const struct axis *axis)
{
    return (size_t)axis->count * (2 * sizeof(int) + (size_t)axis->taps * sizeof(int32_t));
}

static char *place(struct axis *axis, char *at)
{
    axis->begin = (int *)at;
    axis->size = axis->begin + axis->count;
    axis->weights = (int32_t *)(axis->size + axis->count);
    return at + axis_bytes(axis);
}

static void fill(struct axis *axis)
{
    const double scale = (double)axis->from / axis->to, reach = support(axis), inverse = 1.0 / reach;
    for (int pixel = 0; pixel < axis->count; ++pixel) {
        const double centre = (axis->first + pixel + 0.5) * scale;
        int begin = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
        begin = begin < 0 ? 0 : begin;
        end = end > axis->from ? axis->from : end;
        int32_t *weights = axis->weights + (size_t)pixel * (size_t)axis->taps;
        double sum = 0;
        for (int pass = 0; pass < 2; ++pass) {
            for (int tap = 0; tap < end - begin; ++tap) {
                double distance = (tap + begin - centre + 0.5) * inverse;
                distance = distance < 0 ? -distance : distance;
                const double weight = distance < 1 ? 1 - distance : 0;
                if (pass == 0)
                    sum += weight;
                else
                    weights[tap] = (int32_t)(0.5 + weight / sum * (1 << WEIGHT_BITS));
            }
        }
        axis->begin[pixel] = begin;
        axis->size[pixel] = end - begin;
    }
}

static uint8_t byte_of(int32_t sum)
{
    const int32_t value = sum >> WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row of pixels along the columns' axis. */
static void scale_row(const struct axis *columns, const uint8_t *row, uint8_t *to)
{
    for (int x = 0; x < columns->count; ++x) {
        const int32_t *weights = columns->weights + (size_t)x * (size_t)columns->taps;
        const uint8_t *from = row + (size_t)columns->begin[x] * CHANNELS;
        int32_t sums[CHANNELS] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1)};
        for (int tap = 0; tap < columns->size[x]; ++tap)
            for (int channel = 0; channel < CHANNELS; ++channel)
                sums[channel] += from[tap * CHANNELS + channel] * weights[tap];
        for (int channel = 0; channel < CHANNELS; ++channel)
            to[x * CHANNELS + channel] = byte_of(sums[channel]);
    }
}

/* One pixel as the network takes it. */
static void put(float *input, int y, int x, const uint8_t *rgb)
{
    const int planes = (int)(sizeof mean / sizeof mean[0]);
    const float grey = 0.299F * rgb[0] + 0.587F * rgb[1] + 0.114F * rgb[2];
    for (int plane = 0; plane < planes; ++plane) {
        const float value = PREPROCESS_VALUE;
        input[((size_t)plane * HEIGHT + (size_t)y) * WIDTH + (size_t)x] =
            (value * range_step + range_low - mean[plane]) / std[plane];
    }
    (void)grey;
}

size_t net_preprocess_bytes(int height, int width)
{
    struct axis rows, columns;
    int top, left;
    if (plan(height, width, &rows, &columns, &top, &left) != 0)
        return 0;
    return axis_bytes(&rows) + axis_bytes(&columns) + (size_t)rows.from * WIDTH * CHANNELS;
}

int net_preprocess(const uint8_t *rgb, int height, int width, float *input, void *scratch)
{
    struct axis rows, columns;
    int top, left;
    if (plan(height, width, &rows, &columns, &top, &left) != 0)
        return -1;
    uint8_t *scaled = (uint8_t *)place(&columns, place(&rows, scratch));
    fill(&rows);
    fill(&columns);
    const int first = rows.begin[0], last = rows.begin[HEIGHT - 1] + rows.size[HEIGHT - 1];
    for (int y = first; y < last; ++y)
        scale_row(&columns, rgb + ((size_t)(top + y) * (size_t)width + (size_t)left) * CHANNELS,
                  scaled + (size_t)y * WIDTH * CHANNELS);
    for (int y = 0; y < HEIGHT; ++y) {
        const int32_t *weights = rows.weights + (size_t)y * (size_t)rows.taps;
        const uint8_t *from = scaled + (size_t)rows.begin[y] * WIDTH * CHANNELS;
        for (int x = 0; x < WIDTH; ++x) {
            uint8_t pixel[CHANNELS];
            for (int channel = 0; channel < CHANNELS; ++channel) {
                int32_t sum = 1 << (WEIGHT_BITS - 1);
                for (int tap = 0; tap < rows.size[y]; ++tap)
                    sum += from[((size_t)tap * WIDTH + (size_t)x) * CHANNELS + (size_t)channel] *
                           weights[tap];
                pixel[channel] = byte_of(sum);
            }
            put(input, y, x, pixel);
        }
    }
    return 0;
}
