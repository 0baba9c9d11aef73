#!/usr/bin/env bash
# ghostscript: pages of text in many fonts, curves, clipping, shading and images, rendered in threads and
# bands; then made a PDF, and the PDF rendered and read again. Pixels and text must be the same.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program gs ghostscript

corpus text 60000
awk '
    function show(text) { gsub(/[\\()]/, "\\\\&", text); printf "(%s) show\n", text }
    BEGIN {
        split("Times-Roman Helvetica Courier-Bold Palatino-Italic Bookman-Demi NewCenturySchlbk-Roman " \
              "AvantGarde-Book", fonts, " ")
        print "%!PS-Adobe-3.0"
        print "/curve { newpath moveto rcurveto stroke } def"
    }
    { gsub(/[^ -~]/, " "); lines[NR] = substr($0, 1, 90) }
    END {
        for (page = 1; page <= 6; page++) {
            printf "gsave 0.%d 0.9 0.8 setrgbcolor 40 40 520 760 rectfill grestore\n", page % 10
            for (i = 0; i < 60; i++) {
                printf "/%s findfont %d scalefont setfont ", fonts[(page + i) % 7 + 1], 7 + i % 5
                printf "50 %d moveto\n", 780 - i * 12
                show(lines[page * 60 + i])
            }
            for (i = 0; i < 150; i++) {
                printf "%d 0.%d 0.5 setrgbcolor 0.%d setlinewidth ", i % 2, i % 10, i % 9 + 1
                printf "%d %d %d %d %d %d ", i % 97, i % 61, i % 43 - 20, i % 31, 90 - i % 50, 70
                printf "%d %d curve\n", 50 + i * 3, 60 + i * 31 % 700
            }
            print "gsave 300 400 150 0 360 arc clip << /ShadingType 3 /ColorSpace /DeviceRGB"
            print "/Coords [300 400 10 320 420 150] /Function << /FunctionType 2 /Domain [0 1]"
            print "/C0 [1 0 0] /C1 [0 0 1] /N 1.5 >> >> shfill grestore"
            print "gsave 400 100 translate 120 120 scale /line 64 string def"
            print "64 64 8 [64 0 0 64 0 0] { currentfile line readhexstring pop } bind image"
            for (y = 0; y < 64; y++) {
                for (x = 0; x < 64; x++) printf "%02x", (x * y + x * page) % 256
                print ""
            }
            print "grestore"
            print "showpage"
        }
    }' text >pages.ps

require_served --by libgs gs --version
common=(-q -dSAFER -dBATCH -dNOPAUSE)
for way in with without; do
    mkdir "$way"
    "${way}_brim" gs "${common[@]}" -sDEVICE=png16m -r90 -dTextAlphaBits=4 -dGraphicsAlphaBits=4 \
        -dNumRenderingThreads=3 -dMaxBitmap=1000000 -dBufferSpace=1000000 \
        -sOutputFile="$way/page%02d.png" pages.ps
    "${way}_brim" gs "${common[@]}" -sDEVICE=pdfwrite -sOutputFile="$way.pdf" pages.ps
    "${way}_brim" gs "${common[@]}" -sDEVICE=txtwrite -sOutputFile="$way/text" "$way.pdf"
    "${way}_brim" gs "${common[@]}" -sDEVICE=pgmraw -r50 -sOutputFile="$way/pdf%02d.pgm" "$way.pdf"
done
same with without
[[ $(find with -name '*.png' | wc -l) -eq 6 && -s with/text && -s with/pdf06.pgm ]] ||
    fail "pages are missing"
require_on_brim gs
