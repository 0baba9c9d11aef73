#!/usr/bin/env bash
# ImageMagick: large pixel buffers, filters in OpenMP threads, colour reduction, text, and several file
# formats. What is compared is the digest of the pixels.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program convert-im6.q16 imagemagick

cat >work.sh <<'SH'
set -euo pipefail
convert() { convert-im6.q16 -limit thread 4 "$@"; }
convert -size 420x320 -seed 5 plasma:fractal plasma.miff
convert -size 260x200 gradient:navy-orange \( -size 260x200 radial-gradient:white-black \) \
    -compose multiply -composite gradient.miff
convert plasma.miff -resize 300x220 -unsharp 0x2 -modulate 90,140,60 -colorspace Lab -blur 0x3 \
    -colorspace sRGB filtered.miff
convert plasma.miff -distort Arc 70 -virtual-pixel mirror -distort ScaleRotateTranslate 25 \
    -crop 200x200+50+50 +repage turned.miff
convert gradient.miff -dither FloydSteinberg -colors 40 -type palette palette.gif
convert plasma.miff -quality 85 -sampling-factor 4:2:0 photo.jpg
convert photo.jpg -morphology Close Disk:3 -edge 2 -negate edges.png
convert gradient.miff filtered.miff turned.miff -resize 200x200! +append -depth 8 row.tiff
convert plasma.miff -fx 'u*sin(i/40)+(1-u)*j/h' -statistic Median 3x3 mathematics.miff
for image in *.miff *.gif *.jpg *.png *.tiff; do
    identify-im6.q16 -format '%f %wx%h %# %k\n' "$image"
done
compare-im6.q16 -metric PSNR plasma.miff photo.jpg null: 2>&1 || true
# These formats carry the time at which they were written.
rm ./*.miff ./*.png ./*.tiff
SH
require_served --by libMagickCore convert-im6.q16 -version
compare_output bash "$work/work.sh"
[[ $(grep -c ' [0-9a-f]\{64\} ' with/stdout) -eq 9 ]] || fail "images are missing"
require_on_brim convert-im6.q16 identify-im6.q16
