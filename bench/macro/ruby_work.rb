# ruby_work: what scripts do all day: build and drop objects, hashes and strings, print and parse JSON, sort, group,
# substitute; the collector runs as it likes. Prints a checksum. Argument: how many rounds.
require 'digest'
require 'json'

Record = Struct.new(:number, :name, :tags) do
  def document
    { number: number, name: name, tags: tags, nested: { half: number / 2.0 } }
  end
end

digest = Digest::SHA256.new
Integer(ARGV[0]).times do |round|
  records = Array.new(4000) do |i|
    number = i + round
    Record.new(number, "record #{number * 7919 % 100_003}", [3, 5, 7].map { |k| "tag#{number % k}" })
  end
  text = JSON.generate(records.map(&:document))
  parsed = JSON.parse(text)
  by_tag = Hash.new { |hash, key| hash[key] = [] }
  parsed.each { |item| item['tags'].each { |tag| by_tag[tag] << item['name'] } }
  words = parsed.flat_map { |item| item['name'].split }.tally
  changed = text.gsub(/record (\d+)/) { "item #{$1.to_i % 97}" }
  joined = records.sort_by { |record| [record.name, record.number] }.map(&:name).join('|')
  grown = +''
  words.sort.each { |word, count| grown << word << '=' << count.to_s << ';' }
  digest << changed << joined << grown << by_tag.sort.map { |tag, names| "#{tag} #{names.join(' ')}" }.join
end
puts digest.hexdigest
