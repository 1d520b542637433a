# gnuplot -c scaling.gp TABLE PICTURE svg|png: four panels; time and CPU for each item on the left scale, peak memory on the right one.
table = ARG1
if (ARG3 eq "svg") { set terminal svg size 1400,1000 font "sans,13" background "white" } else { set terminal pngcairo size 1400,1000 font "sans,13" }
set output ARG2
set datafile separator tab
set key below horizontal width -1 height 1 font ",11"
set grid xtics ytics lc rgb "#dddddd"
set logscale xy
set format y "%.0s %cs"
set ytics nomirror
set y2tics
set y2label "peak memory, MiB"
set y2range [0:*]
set lmargin 11
set rmargin 10
microsecond = 1e-6
mib = 1048576.0

set style line 1 lc rgb "#1f5fa8" lw 2 pt 7 ps 0.8
set style line 2 lc rgb "#c8641e" lw 2 pt 5 ps 0.8
set style line 3 lc rgb "#777777" lw 1 dt 2
set style line 4 lc rgb "#4b8b3b" lw 1 pt 6 ps 0.7

# Column 2: what varies; 3: items; 7: seconds; 8: seconds of CPU; 9: bytes.
set multiplot layout 2,2 title "a map on this machine: time, CPU and memory" font ",16"

set title "items (no-op, 2 workers)"
set xlabel "items in the map"
set ylabel "for each item"
set format x "10^{%L}"
plot table index 0 using 2:($7/$3) with linespoints ls 1 title "time", \
     '' index 0 using 2:($8/$3) with linespoints ls 2 title "CPU of all", \
     '' index 0 using 2:($9/mib) axes x1y2 with linespoints ls 4 title "memory (right)"

set title "payload (no-op, 2 workers)"
set xlabel "bytes sent with each item, up to 64 Mi"
set xtics ("none" 1, "16" 16, "256" 256, "4 Ki" 4096, "64 Ki" 65536, "1 Mi" 1048576, "16 Mi" 16777216)
plot table index 1 using ($2 > 0 ? $2 : 1):($7/$3) with linespoints ls 1 title "time", \
     '' index 1 using ($2 > 0 ? $2 : 1):($8/$3) with linespoints ls 2 title "CPU of all", \
     '' index 1 using ($2 > 0 ? $2 : 1):($9/mib) axes x1y2 with linespoints ls 4 title "memory (right)"
unset xtics
set xtics

set title "workers (10 us tasks)"
set xlabel "workers"
set format x "%g"
set xtics (1, 2, 4, 8, 16, 32, 64)
unset logscale y
set yrange [0:2.5e-5]
plot table index 2 using 2:($7/$3) with linespoints ls 1 title "time", \
     '' index 2 using 2:($8/$3) with linespoints ls 2 title "CPU of all", \
     10 * microsecond with lines ls 3 title "10 us", \
     '' index 2 using 2:($9/mib) axes x1y2 with linespoints ls 4 title "memory (right)"
set autoscale y
set logscale y
unset xtics
set xtics

set title "length of a task (2 workers)"
set xlabel "microseconds of work in each"
set xtics ("none" 0.02, "0.1" 0.1, "1" 1, "10" 10, "100" 100, "1000" 1000, "10000" 10000)
plot table index 3 using ($2 > 0 ? $2 : 0.02):($7/$3) with linespoints ls 1 title "time", \
     '' index 3 using ($2 > 0 ? $2 : 0.02):($8/$3) with linespoints ls 2 title "CPU of all", \
     x * microsecond / 2 with lines ls 3 title "work / 2 workers", \
     '' index 3 using ($2 > 0 ? $2 : 0.02):($9/mib) axes x1y2 with linespoints ls 4 title "memory (right)"
unset multiplot
