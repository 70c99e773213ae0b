/* Sixteen bytes of a table of 256: an index beyond a quarter leaves what the one before found. */
INLINE int8x16_t look_up(int8x16_t x, uint8x16x4_t t0, uint8x16x4_t t1, uint8x16x4_t t2,
                         uint8x16x4_t t3)
{
    const uint8x16_t at = vreinterpretq_u8_s8(x);
    uint8x16_t found = vqtbl4q_u8(t0, at);
    found = vqtbx4q_u8(found, t1, vsubq_u8(at, vdupq_n_u8(64)));
    found = vqtbx4q_u8(found, t2, vsubq_u8(at, vdupq_n_u8(128)));
    found = vqtbx4q_u8(found, t3, vsubq_u8(at, vdupq_n_u8(192)));
    return vreinterpretq_s8_u8(found);
}
