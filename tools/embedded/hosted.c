/* Scores of the images in the file `images`, into the file `scores`: under an operating system. */

#include <stdio.h>

int main(void)
{
    static uint8_t image[INPUTS];
    static int32_t scores[SCORES];
    FILE *from = fopen("images", "rb"), *to = fopen("scores", "wb");
    if (!from || !to) return 1;
    while (fread(image, 1, INPUTS, from) == INPUTS) {
        RUN(image, scores);
        fwrite(scores, 4, SCORES, to);
    }
    return fclose(to) ? 1 : 0;
}
