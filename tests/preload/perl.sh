#!/usr/bin/env bash
# perl: hashes, strings that grow by realloc, sorting, closures, regular expressions, Storable, interpreter
# threads that each clone the whole interpreter, and forked children.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program perl perl

corpus "$work/text" 3000000
cat >"$work/work.pl" <<'PERL'
use strict; use warnings;
use threads; use Digest::SHA 'sha256_hex'; use Storable qw(freeze thaw dclone);

open my $in, '<', $ARGV[0] or die "no input: $!";
my (%count, %lines, @long);
while (my $line = <$in>) {
    $count{lc $1}++ while $line =~ /([A-Za-z_]{3,})/g;
    push @{ $lines{ length $line } }, $line;
    push @long, $line if length $line > 70;
}
my @words = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
printf "%d words, the first: %s\n", scalar @words, join ' ', @words[0 .. 20];
printf "%d long lines, %s\n", scalar @long, sha256_hex(join '', sort @long);

# A string that grows a little at a time, and one that is cut up again.
my $text = '';
$text .= "$words[$_ % @words]=$_;" for 1 .. 150_000;
my %pair = split /[=;]/, $text;
printf "%d bytes, %s, %d pairs\n", length $text, sha256_hex($text), scalar keys %pair;
$text =~ s/(\w+)=(\d+);/$2:$1 /g;
printf "substituted: %s\n", sha256_hex($text);

my $copy = dclone(\%lines);
delete @lines{ grep { $_ % 3 } keys %lines };
my $thawed = thaw(freeze($copy));
printf "%d of %d lengths kept, %s\n", scalar keys %lines, scalar keys %$thawed,
    sha256_hex(join '', map { @{ $thawed->{$_} } } sort { $a <=> $b } keys %$thawed);

my @closures = map { my $n = $_; sub { $n * $_[0] } } 1 .. 50_000;
my $sum = 0;
$sum += $_->(3) for @closures;
print "closures: $sum\n";

sub churn {
    my $seed = shift;
    my %table;
    for my $i (1 .. 10_000) {
        my $key = "$seed:" . ($i * 7919 % 5003);
        if ($i % 3) { $table{$key} .= 'x' x ($i % 50) } else { delete $table{$key} }
    }
    return sha256_hex(join ',', map { "$_=$table{$_}" } sort keys %table);
}
print "thread $_\n" for map { $_->join } map { threads->create(\&churn, $_) } 1 .. 4;

$| = 1;
for my $child (1 .. 6) {
    my $process = open(my $from, '-|') // die "no fork: $!";
    if (!$process) { print churn($child % 3); exit 0 }
    print "child $child: ", <$from>, "\n";
    close $from or die "child $child: $?";
}
PERL

require_served perl -v
compare_output perl "$work/work.pl" "$work/text"
require_on_brim perl
