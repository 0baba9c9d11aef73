# perl_work: what scripts do all day: count words, build and drop hashes of lists, sort, join and split strings,
# substitute, make objects and closures. Prints a checksum. Argument: how many rounds.
use strict;
use warnings;
use Digest::SHA 'sha256_hex';

package Record {
    sub new {
        my ($class, $number) = @_;
        my $name = 'record ' . $number * 7919 % 100003;
        return bless {number => $number, name => $name, tags => [map { 'tag' . $number % $_ } 3, 5, 7]}, $class;
    }
    sub line { my $self = shift; return join ',', $self->{number}, $self->{name}, @{ $self->{tags} } }
}

my $digest = '';
for my $round (1 .. $ARGV[0]) {
    my @records = map { Record->new($_ + $round) } 1 .. 4000;
    my (%by_tag, %count);
    for my $record (@records) {
        push @{ $by_tag{$_} }, $record->{name} for @{ $record->{tags} };
        $count{$_}++ for split / /, $record->{name};
    }
    my $text = join "\n", map { $_->line } sort { $a->{name} cmp $b->{name} } @records;
    my @parsed;
    for my $line (split /\n/, $text) {
        my ($number, @rest) = split /,/, $line;
        push @parsed, {number => $number, rest => \@rest};
    }
    (my $changed = $text) =~ s/record (\d+)/"item " . ($1 % 97)/ge;
    my @closures = map { my $parsed = $_; sub { $parsed->{number} * $_[0] } } @parsed;
    my $sum = 0;
    $sum += $_->(3) for @closures;
    my $grown = '';
    $grown .= "$_=$count{$_};" for sort keys %count;
    $digest = sha256_hex($digest, $changed, $grown, $sum, map { "$_ @{ $by_tag{$_} }" } sort keys %by_tag);
}
print "$digest\n";
