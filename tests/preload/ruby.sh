#!/usr/bin/env bash
# ruby: strings, hashes, symbols, big integers, regular expressions, threads, fibers, forked children, and the
# garbage collector with compaction; ruby takes its pages of slots and all buffers from malloc.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program ruby ruby

corpus "$work/text" 1500000
cat >work.rb <<'RUBY'
require 'digest'
require 'json'
require 'set'
require 'stringio'
require 'zlib'

def digest(value) = Digest::SHA256.hexdigest(value.to_s)[0, 16]

def churn(seed)
  random = Random.new(seed)
  kept = {}
  8_000.times do |i|
    key = random.rand(700)
    random.rand(3).zero? ? kept.delete(key) : kept[key] = "#{i}," * random.rand(200)
  end
  digest(kept.sort.flatten.join)
end

text = File.read(ARGV[0], encoding: 'UTF-8').scrub
count = text.scan(/\w{3,}/).tally
puts count.size, digest(count.sort)
records = count.sort.map { |word, n| { word: word, count: n, letters: word.chars.tally } }
encoded = JSON.generate(records)
puts digest(encoded), JSON.parse(encoded, symbolize_names: true).size
puts digest(Marshal.load(Marshal.dump(records)).to_s)
out = StringIO.new
text.each_line { |line| out << line.reverse.gsub(/\s+/) { |space| space.length.to_s } }
puts digest(out.string)
puts digest(Zlib::Inflate.inflate(Zlib::Deflate.deflate(text, 9)))
puts digest((1..1500).reduce(:*)), digest(3**40_000 % 10**3000)
puts digest(count.keys.map(&:to_sym).sort.join), digest(count.keys.map { |word| word[0, 3] }.to_set.sort)
lists = Array.new(100_000) { |i| [i, i.to_s] }
lists.shuffle!(random: Random.new(4))
puts digest(lists.sort_by(&:last).first(5000))
lists = nil
GC.start
GC.compact if GC.respond_to?(:compact)
puts Array.new(8) { |seed| Thread.new { churn(seed) } }.map(&:value)
fibers = Array.new(2000) { |i| Fiber.new { 3.times { |step| Fiber.yield("#{i}:#{step}" * 20) }; 'end' } }
puts digest((1..4).map { fibers.map(&:resume).join }.join)
$stdout.flush
readers = Array.new(6) do |seed|
  reader, writer = IO.pipe
  fork do
    reader.close
    writer.write(churn(seed))
    writer.close
    exit!(0)
  end
  writer.close
  reader
end
puts readers.map(&:read)
Process.waitall.each { |_, status| raise "child: #{status}" unless status.success? }
RUBY
require_served --by libruby ruby --version
compare_output ruby "$work/work.rb" "$work/text"
require_on_brim 'ruby[.0-9]*'
