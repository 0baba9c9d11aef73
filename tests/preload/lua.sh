#!/usr/bin/env bash
# lua: every object goes through one realloc-shaped function: tables that grow and shrink, strings, closures,
# coroutines, and a collector in both of its modes.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program lua5.4 lua5.4

corpus "$work/text" 2500000
cat >work.lua <<'LUA'
local function digest(text)
    local sum = 5381
    for i = 1, #text, 4 do sum = (sum * 33 + text:byte(i)) % 4294967291 end
    return string.format('%08x %d', sum, #text)
end

local file = assert(io.open(arg[1], 'rb'))
local text = file:read('a')
file:close()

for _, mode in ipairs { 'incremental', 'generational' } do
    collectgarbage(mode)
    local count, order = {}, {}
    for word in text:gmatch('[%a_]+') do
        if not count[word] then order[#order + 1] = word end
        count[word] = (count[word] or 0) + 1
    end
    table.sort(order)
    local lines = {}
    for i, word in ipairs(order) do lines[i] = word .. '=' .. count[word] end
    print(mode, #order, digest(table.concat(lines, '\n')))
    print(digest((text:gsub('(%a+)_(%a+)', '%2-%1'))))

    local seed, kept = 7, {}
    for i = 1, 200000 do
        seed = seed * 16807 % 2147483647
        local slot = seed % 3000
        if seed % 3 == 0 then
            kept[slot] = nil
        else
            kept[slot] = { i, tostring(seed), { slot, kept[slot] and kept[slot][2] } }
        end
    end
    local out = {}
    for slot = 0, 2999 do
        local one = kept[slot]
        out[#out + 1] = one and one[2] .. tostring(one[3][2]) or '-'
    end
    print(digest(table.concat(out, ',')))

    local threads = {}
    for i = 1, 3000 do
        threads[i] = coroutine.wrap(function(step)
            local mine = {}
            for n = 1, 5 do
                mine[n] = string.rep(tostring(i), step % 9)
                step = coroutine.yield(#table.concat(mine))
            end
            return 0
        end)
    end
    local total = 0
    for step = 1, 5 do for i = 1, #threads do total = total + threads[i](step + i) end end
    print(total)
    local grown = ''
    for i = 1, 4000 do grown = grown .. i end
    print(digest(grown))
    local weak = setmetatable({}, { __mode = 'k', __gc = function() end })
    for _ = 1, 50000 do weak[{}] = {} end
    collectgarbage()
    print(next(weak) == nil)
end
LUA
require_served lua5.4 -v
compare_output lua5.4 "$work/work.lua" "$work/text"
require_on_brim lua5.4
