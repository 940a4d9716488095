-- SPDX-License-Identifier: BSD-3-Clause
--
-- Wireshark dissector for Virtio-over-Fabrics on TCP, in all three dialects.
--
--     wireshark -X lua_script:wireshark/vof.lua disk0.pcap
--     tshark -X lua_script:wireshark/vof.lua -r disk0.pcap -Y 'vof.status != 0'
--
-- or put it into ~/.local/lib/wireshark/plugins. It takes TCP ports 8549 and 15771, any connection
-- that begins with a Connect and others with the same target, and what "Decode As" gives it. The
-- Connect says which dialect it is; without it, it is taken for that of the port until a request
-- tells otherwise. Structures are those of docs/protocol.md, fields are named as they are there. What a conversation has to be followed for, `vofctl decode`
-- tells: what a request asks of a device, the rules that are broken, how to go on behind bytes that
-- are missing or behind a vring that the reference target refuses.
--
-- Segments that were captured out of order, as happens where the sender moves between CPUs, Wireshark
-- puts in order only where the preference tcp.reassemble_out_of_order says so:
--
--     tshark -o tcp.reassemble_out_of_order:TRUE -X lua_script:wireshark/vof.lua -r disk0.pcap

local vof = Proto("vof", "Virtio over Fabrics")

local PORT, V5_PORT = 15771, 8549
local HEAD, DESCRIPTOR, BODY, NAME = 16, 24, 1024, 256
local MOST = 64 * 1024 * 1024 -- bytes of the largest message believed
local KEYED, WRITE = 1, 2 -- flags of a descriptor: no bytes of it follow (v2); device-writable
local CONTROL = 0xffff -- target id of the control queue's Connect
local FIRST_RESERVED_ID = 0xff00
local CONNECT = 0x0000

-- The commands of each dialect by opcode.
local COMMANDS = {
    proposal = {
        [0x0000] = "connect", [0x0001] = "disconnect", [0x0002] = "keepalive",
        [0x0003] = "get_feature", [0x0004] = "set_feature", [0x1000] = "get_vendor_id",
        [0x1001] = "get_device_id", [0x1002] = "get_generation", [0x1003] = "get_status",
        [0x1004] = "set_status", [0x1005] = "get_device_feature",
        [0x1006] = "set_driver_feature", [0x1007] = "get_num_queues",
        [0x1008] = "get_queue_size", [0x1009] = "set_queue_size", [0x100a] = "get_config",
        [0x100b] = "set_config", [0x100c] = "get_config_changed", [0x2000] = "vring",
    },
    v2 = {
        [0x0000] = "connect", [0x0001] = "disconnect", [0x0002] = "get_feature",
        [0x0003] = "set_feature", [0x0004] = "keepalive", [0x0fff] = "vring",
        [0x1000] = "get_vendor_id", [0x1001] = "get_device_id", [0x1002] = "get_generation",
        [0x1004] = "get_status", [0x1005] = "set_status", [0x1006] = "get_device_feature",
        [0x1007] = "set_driver_feature", [0x1008] = "get_num_queues",
        [0x100a] = "get_queue_size", [0x100c] = "get_config", [0x100d] = "set_config",
    },
    v5 = {
        [0x0000] = "connect", [0x0001] = "disconnect", [0x0002] = "keepalive",
        [0x0004] = "get_feature", [0x0005] = "set_feature", [0x0100] = "get_keyed_num_descs",
        [0x0102] = "get_keyed_eager_buf", [0x0ffe] = "vq_keyed_eager_buf", [0x0fff] = "vq",
        [0x1000] = "get_vendor_id", [0x1001] = "get_device_id", [0x1003] = "reset_device",
        [0x1004] = "get_status", [0x1005] = "set_status", [0x1006] = "get_device_feature",
        [0x1009] = "set_driver_feature", [0x100a] = "get_vq_size", [0x100c] = "get_config",
        [0x100d] = "set_config",
    },
}

local EVENTS = { [0xffff] = "keepalive", [0xfffe] = "config_change" }

-- Why a command is refused: an errno before v5, a list of its own in that.
local ERRNOS = {
    [1] = "EPERM", [4] = "EINTR", [5] = "EIO", [11] = "EAGAIN", [12] = "ENOMEM",
    [13] = "EACCES", [16] = "EBUSY", [19] = "ENODEV", [22] = "EINVAL", [28] = "ENOSPC",
    [34] = "ERANGE", [44] = "ECHRNG", [71] = "EPROTO", [95] = "EOPNOTSUPP", [110] = "ETIMEDOUT",
    [4096] = "some other error",
}
local REASONS = {
    [0x0001] = "unknown or disabled command", [0x0002] = "too many commands in flight",
    [0x1001] = "there is no target of that tvqn",
    [0x1002] = "the device instance could not be created",
    [0x1003] = "refused by access control", [0x1010] = "bad device instance id",
    [0x1011] = "bad name, or not the device instance's",
    [0x1020] = "virtqueue index too large", [0x1021] = "virtqueue in use",
    [0x1022] = "queue size too large", [0x2000] = "transport feature not supported",
    [0x2010] = "device status not supported", [0x2020] = "device feature not supported",
    [0x2030] = "beyond the config space", [0x2031] = "bad width of a config field",
    [0x20f0] = "the device-readable buffers could not be read",
    [0x20f1] = "the device-writable buffers could not be written",
}

-- What a message's fields are. A field that is reserved is not one of them.
local fields = {}
local function field(name, make, ...)
    fields[name] = make("vof." .. name, ...)
end

field("message", ProtoField.string, "Message")
field("command", ProtoField.string, "Command")
field("queue", ProtoField.string, "Queue")
field("dialect", ProtoField.string, "Dialect")
field("opcode", ProtoField.uint16, "Opcode", base.HEX)
field("command_id", ProtoField.uint16, "Command id")
field("status", ProtoField.uint16, "Status", base.HEX_DEC)
field("reason", ProtoField.string, "Reason")
field("device_status", ProtoField.uint32, "Device status", base.HEX)
field("target_id", ProtoField.uint16, "Target id", base.HEX)
field("device_instance_id", ProtoField.uint16, "Device instance id", base.HEX)
field("queue_id", ProtoField.uint16, "Queue id")
field("queue_size", ProtoField.uint16, "Queue size")
field("oftype", ProtoField.uint8, "Transport (oftype)")
field("ivqn", ProtoField.stringz, "Initiator (ivqn)")
field("tvqn", ProtoField.stringz, "Target (tvqn)")
field("feature_select", ProtoField.uint32, "Feature select")
field("offset", ProtoField.uint16, "Offset")
field("bytes", ProtoField.uint8, "Bytes")
field("value", ProtoField.uint64, "Value", base.HEX)
field("feature", ProtoField.uint64, "Feature", base.HEX)
field("config", ProtoField.uint64, "Config", base.HEX)
field("generation", ProtoField.uint32, "Generation")
field("dev_status", ProtoField.uint32, "Device status (dev_status)", base.HEX)
field("size", ProtoField.uint16, "Size")
field("length", ProtoField.uint32, "Length")
field("ndesc", ProtoField.uint16, "Descriptors (ndesc)")
field("vq_index", ProtoField.uint16, "Virtqueue (vq_index)")
field("descs", ProtoField.uint8, "Descriptors (descs)")
field("out_offset", ProtoField.uint32, "Offset of the device-readable bytes (out_offset)")
field("out_length", ProtoField.uint32, "Device-readable bytes (out_length)")
field("in_length", ProtoField.uint32, "Device-writable bytes (in_length)")
field("descriptor", ProtoField.bytes, "Descriptor")
field("descriptor_addr", ProtoField.uint64, "Address", base.HEX)
field("descriptor_length", ProtoField.uint32, "Length")
field("descriptor_id", ProtoField.uint16, "Id")
field("descriptor_flags", ProtoField.uint16, "Flags", base.HEX)
field("descriptor_key", ProtoField.uint32, "Key", base.HEX)
field("data", ProtoField.bytes, "Data")
field("request", ProtoField.framenum, "Command in", base.NONE, frametype.REQUEST)
field("answer", ProtoField.framenum, "Completion in", base.NONE, frametype.RESPONSE)
field("time", ProtoField.relative_time, "Time since the command")

local list = {}
for _, each in pairs(fields) do
    list[#list + 1] = each
end
vof.fields = list

local too_long = ProtoExpert.new(
    "vof.too_long", "A length that is not believed", expert.group.MALFORMED, expert.severity.ERROR)
local unknown_opcode = ProtoExpert.new(
    "vof.unknown_opcode", "Unknown opcode", expert.group.PROTOCOL, expert.severity.WARN)
local unknown_id = ProtoExpert.new(
    "vof.unknown_id", "No command with this id is in flight", expert.group.SEQUENCE,
    expert.severity.WARN)
vof.experts = { too_long, unknown_opcode, unknown_id }

-- Structures: what follows opcode or status and the command id, as { name, offset, size }. What is
-- not named has no fields, but in the earlier dialects a value.
local VALUE = { { "value", 8, 8 } }
local SELECT = { { "feature_select", 4, 4 } }
local FEATURE = { { "feature_select", 4, 4 }, { "value", 8, 8 } }
local V5_FEATURE = { { "feature_select", 4, 4 }, { "feature", 8, 8 } }
local QUEUE = { { "queue_id", 4, 2 }, { "value", 8, 8 } }
local CONFIG = { { "offset", 4, 2 }, { "bytes", 6, 1 }, { "value", 8, 8 } }
local STATUS_AT_4, STATUS_AT_8 = { { "device_status", 4, 4 } }, { { "device_status", 8, 4 } }
local NUMBER = { { "value", 4, 4 } }

local EARLIER = setmetatable({
    connect = {
        { "target_id", 4, 2 }, { "queue_id", 6, 2 }, { "ndesc", 8, 2 }, { "oftype", 10, 1 },
    },
    get_feature = FEATURE, set_feature = FEATURE,
    get_device_feature = FEATURE, set_driver_feature = FEATURE,
    get_queue_size = QUEUE, set_queue_size = QUEUE,
    get_config = CONFIG, set_config = CONFIG,
    vring = { { "length", 4, 4 }, { "ndesc", 8, 2 } },
    unknown = {},
}, { __index = function() return VALUE end })
local NOTHING = { __index = function() return {} end }
local STRUCTURES = {
    proposal = setmetatable({ set_status = STATUS_AT_4 }, { __index = EARLIER }),
    v2 = setmetatable({ set_status = STATUS_AT_8 }, { __index = EARLIER }),
    v5 = setmetatable({
        connect = {
            { "device_instance_id", 4, 2 }, { "vq_index", 6, 2 }, { "length", 8, 4 },
            { "queue_size", 12, 2 },
        },
        get_feature = SELECT, set_feature = V5_FEATURE,
        get_device_feature = SELECT, set_driver_feature = V5_FEATURE,
        get_keyed_eager_buf = { { "vq_index", 4, 2 }, { "descs", 6, 1 } },
        vq_keyed_eager_buf = {
            { "out_offset", 4, 4 }, { "out_length", 8, 4 }, { "in_length", 12, 4 },
        },
        vq = { { "out_length", 8, 4 }, { "in_length", 12, 4 } },
        get_vq_size = { { "vq_index", 4, 2 } },
        set_status = STATUS_AT_4,
        get_config = { { "offset", 4, 2 }, { "bytes", 6, 1 } },
        set_config = { { "offset", 4, 2 }, { "bytes", 6, 1 }, { "config", 8, 8 } },
    }, NOTHING),
}
local COMPLETION = { { "ndesc", 4, 2 }, { "value", 8, 8 } }
local EARLIER_COMPLETIONS = setmetatable({}, { __index = function() return COMPLETION end })
local COMPLETIONS = {
    proposal = EARLIER_COMPLETIONS,
    v2 = EARLIER_COMPLETIONS,
    v5 = setmetatable({
        connect = { { "device_instance_id", 4, 2 } },
        get_feature = { { "feature", 8, 8 } }, get_device_feature = { { "feature", 8, 8 } },
        get_keyed_num_descs = { { "descs", 4, 1 } }, get_keyed_eager_buf = { { "descs", 4, 1 } },
        vq_keyed_eager_buf = { { "length", 4, 4 } },
        vq = { { "length", 8, 4 }, { "in_length", 12, 4 } },
        get_vendor_id = NUMBER, get_device_id = NUMBER,
        get_status = { { "dev_status", 4, 4 } },
        get_vq_size = { { "size", 4, 2 } },
        get_config = { { "generation", 4, 4 }, { "config", 8, 8 } },
        config_change = { { "generation", 4, 4 } },
    }, NOTHING),
}

-- What is known of each TCP connection, and of the messages in each frame. Wireshark looks at the
-- frames in order once, and then at any of them again: what a message means is settled the first
-- time.
local streams, settled = {}, {}
local targets = {} -- found by a Connect, whatever their port

function vof.init()
    streams, settled, targets = {}, {}, {}
end

-- By its ends: the field tcp.stream is not there while Wireshark builds no tree.
local function stream_of(pinfo)
    local from = ("%s %d"):format(tostring(pinfo.src), pinfo.src_port)
    local to = ("%s %d"):format(tostring(pinfo.dst), pinfo.dst_port)
    local key = from < to and from .. " " .. to or to .. " " .. from
    if not streams[key] then
        local to_target = pinfo.dst_port == pinfo.match_uint
        streams[key] = {
            target_port = to_target and pinfo.dst_port or pinfo.src_port,
            queue = "?", in_flight = {}, guessed = true,
            dialect = pinfo.match_uint == V5_PORT and "v5" or "proposal",
        }
    end
    return streams[key]
end

-- The dialect of a Connect, by its first 16 bytes; an oftype that is none's, and a length, are told
-- as the latest dialect in which they are one.
local function connect_dialect(tvb, start)
    if tvb(start + 8, 2):le_uint() ~= 1 then
        return "v5"
    end
    return tvb(start + 10, 1):uint() == 0 and "proposal" or "v2"
end

-- The dialect of a command. Where no Connect was seen, a request tells: v2 has zeros where v5 has
-- the length of the answer.
local function command_dialect(tvb, start, stream, entry)
    local opcode = tvb(start, 2):le_uint()
    if entry then
        return entry.dialect
    elseif opcode == CONNECT then
        return connect_dialect(tvb, start)
    elseif stream.guessed and opcode == 0x2000 then
        return "proposal"
    elseif stream.guessed and opcode == 0x0fff then
        return tvb(start + 12, 4):le_uint() == 0 and "v2" or "v5"
    end
    return stream.dialect
end

-- Bytes of the descriptors behind a head, and of the data behind these; nil where more is needed
-- to know. `skipped` are flags of descriptors whose data is not there.
local function described(tvb, start, count, skipped)
    local table_size = count * DESCRIPTOR
    if tvb:len() < start + HEAD + table_size then
        return table_size, nil
    end
    local data = 0
    for place = start + HEAD, start + HEAD + table_size - DESCRIPTOR, DESCRIPTOR do
        if bit.band(tvb(place + 14, 2):le_uint(), skipped) == 0 then
            data = data + tvb(place + 8, 4):le_uint()
        end
    end
    return table_size, data
end

-- The sizes of a command's parts behind its head: descriptors, data.
local function command_parts(tvb, start, dialect)
    local name = COMMANDS[dialect][tvb(start, 2):le_uint()]
    if dialect ~= "v5" then
        if name ~= "connect" and name ~= "vring" then
            return 0, 0
        end
        local skipped = dialect == "v2" and WRITE + KEYED or WRITE
        return described(tvb, start, tvb(start + 8, 2):le_uint(), skipped)
    elseif name == "connect" then
        return 0, tvb(start + 8, 4):le_uint() == BODY and BODY or 0
    end
    return 0, name == "vq" and tvb(start + 8, 4):le_uint() or 0
end

-- The same of a completion; `request` is its command.
local function completion_parts(tvb, start, request, dialect)
    if dialect == "v5" then
        return 0, request and request.name == "vq" and tvb(start + 8, 4):le_uint() or 0
    end
    return described(tvb, start, tvb(start + 4, 2):le_uint(), 0)
end

-- What a message means, settled when it is seen first.
local function settle_command(stream, pinfo, opcode, id)
    local entry = {
        name = COMMANDS[stream.dialect][opcode], frame = pinfo.number, time = pinfo.rel_ts, id = id,
        dialect = stream.dialect, queue = stream.queue,
    }
    stream.in_flight[id] = entry
    return entry
end

local function find_request(stream, tvb, start)
    local id = tvb(start + 2, 2):le_uint()
    local request = stream.in_flight[id]
    if not request and id == 0 then
        -- The reference target's, of a crypto device or a refused Connect: the oldest.
        for _, each in pairs(stream.in_flight) do
            if not request or each.frame < request.frame then
                request = each
            end
        end
    end
    local by_length = stream.by_length and stream.dialect == "v5"
    if not request and by_length and id < FIRST_RESERVED_ID then
        request = { name = "vq", dialect = "v5", lost = true }
    end
    return request
end

local function add_structure(tree, tvb, start, structure)
    for _, each in ipairs(structure) do
        tree:add_le(fields[each[1]], tvb(start + each[2], each[3]))
    end
end

local function add_descriptors(tree, tvb, start, size)
    for place = start + HEAD, start + HEAD + size - DESCRIPTOR, DESCRIPTOR do
        local branch = tree:add(fields.descriptor, tvb(place, DESCRIPTOR))
        local length, flags = tvb(place + 8, 4):le_uint(), tvb(place + 14, 2):le_uint()
        branch:set_text(("Descriptor %d: %d bytes, device-%s"):format(
            tvb(place + 12, 2):le_uint(), length,
            bit.band(flags, WRITE) ~= 0 and "writable" or "readable"))
        branch:add_le(fields.descriptor_addr, tvb(place, 8))
        branch:add_le(fields.descriptor_length, tvb(place + 8, 4))
        branch:add_le(fields.descriptor_id, tvb(place + 12, 2))
        branch:add_le(fields.descriptor_flags, tvb(place + 14, 2))
        branch:add_le(fields.descriptor_key, tvb(place + 16, 4))
    end
end

-- A Connect is the first on its connection: whatever had these ends before is over.
local function note_connect(stream, tvb, start)
    stream.in_flight, stream.guessed = {}, false
    local control = tvb(start + 4, 2):le_uint() == CONTROL
    stream.queue = control and "control" or tostring(tvb(start + 6, 2):le_uint())
    stream.by_length = not control
end

local function show_command(tvb, pinfo, branch, start, data, stream, key)
    local opcode, id = tvb(start, 2):le_uint(), tvb(start + 2, 2):le_uint()
    local entry = settled[key]
    if not entry then
        stream.dialect = command_dialect(tvb, start, stream)
        if opcode == CONNECT then
            note_connect(stream, tvb, start)
        end
        entry = settle_command(stream, pinfo, opcode, id)
        stream.by_length = stream.by_length or entry.name == "vq"
        settled[key] = entry
    end
    branch:add(fields.message, "command"):set_generated()
    branch:add(fields.command, entry.name or "unknown"):set_generated()
    branch:add(fields.queue, entry.queue):set_generated()
    branch:add(fields.dialect, entry.dialect):set_generated()
    local item = branch:add_le(fields.opcode, tvb(start, 2))
    branch:add_le(fields.command_id, tvb(start + 2, 2))
    if not entry.name then
        item:add_proto_expert_info(unknown_opcode)
    end
    add_structure(branch, tvb, start, STRUCTURES[entry.dialect][entry.name or "unknown"])
    if opcode == CONNECT and data:len() == BODY then
        branch:add(fields.ivqn, data(0, NAME))
        branch:add(fields.tvqn, data(NAME, NAME))
    end
    if entry.answer then
        branch:add(fields.answer, entry.answer):set_generated()
    end
    return ("→ %s %d"):format(entry.name or ("opcode 0x%04x"):format(opcode), id)
end

local function show_completion(tvb, pinfo, branch, start, stream, key)
    local status, id = tvb(start, 2):le_uint(), tvb(start + 2, 2):le_uint()
    local entry = settled[key]
    if not entry then
        local request = find_request(stream, tvb, start)
        local dialect = request and request.dialect or stream.dialect
        entry = {
            request = request, queue = stream.queue, dialect = dialect,
            unknown = not request or request.lost and not stream.guessed,
        }
        settled[key] = entry
        if request and not request.lost then
            stream.in_flight[request.id] = nil
            request.answer = pinfo.number
            entry.time = pinfo.rel_ts
        end
    end
    local request = entry.request
    local event = not request and id >= FIRST_RESERVED_ID
    local name = request and request.name or event and EVENTS[id] or "unknown"
    branch:add(fields.message, event and "event" or "completion"):set_generated()
    branch:add(fields.command, name):set_generated()
    branch:add(fields.queue, entry.queue):set_generated()
    branch:add(fields.dialect, entry.dialect):set_generated()
    branch:add_le(fields.status, tvb(start, 2))
    local reason = (entry.dialect == "v5" and REASONS or ERRNOS)[status]
    if reason then
        branch:add(fields.reason, reason):set_generated()
    end
    local item = branch:add_le(fields.command_id, tvb(start + 2, 2))
    add_structure(branch, tvb, start, COMPLETIONS[entry.dialect][name])
    if request and not request.lost then
        branch:add(fields.request, request.frame):set_generated()
        local ns = math.floor((entry.time - request.time) * 1e9 + 0.5)
        branch:add(fields.time, NSTime.new(math.floor(ns / 1e9), ns % 1e9)):set_generated()
    elseif entry.unknown and not event then
        item:add_proto_expert_info(unknown_id)
    end
    return ("← %s%s %d%s"):format(
        event and "event " or "", name, id,
        status ~= 0 and " " .. (reason or ("status 0x%04x"):format(status)) or "")
end

-- Take one message at `start`. Returns its size, or nil and how many bytes more are needed.
local function take(tvb, pinfo, tree, start, stream, to_target)
    local left = tvb:len() - start
    if left < HEAD then
        return nil, HEAD - left
    end
    local key = ("%d:%d:%d:%s"):format(
        pinfo.number, tvb:len(), start, tostring(tvb(start, HEAD):bytes()))
    local described_size, data_size
    local entry = settled[key]
    if to_target then
        local dialect = command_dialect(tvb, start, stream, entry)
        described_size, data_size = command_parts(tvb, start, dialect)
    else
        local request = entry and entry.request or not entry and find_request(stream, tvb, start)
        local dialect = entry and entry.dialect or request and request.dialect or stream.dialect
        described_size, data_size = completion_parts(tvb, start, request, dialect)
    end
    local size = HEAD + described_size + (data_size or 0)
    local believed = size <= MOST
    if not believed then
        described_size, data_size, size = 0, 0, HEAD
    end
    if not data_size then
        return nil, DESEGMENT_ONE_MORE_SEGMENT -- how much, is known when the descriptors are there
    elseif left < size then
        return nil, size - left
    end
    local branch = tree:add(vof, tvb(start, size))
    local data = tvb(start + HEAD + described_size, data_size):tvb()
    local text
    if to_target then
        text = show_command(tvb, pinfo, branch, start, data, stream, key)
    else
        text = show_completion(tvb, pinfo, branch, start, stream, key)
    end
    add_descriptors(branch, tvb, start, described_size)
    if data_size > 0 then
        branch:add(fields.data, tvb(start + HEAD + described_size, data_size))
    end
    if not believed then
        branch:add_proto_expert_info(too_long)
    end
    branch:append_text(", " .. text)
    pinfo.cols.info:append((tostring(pinfo.cols.info) == "" and "" or ", ") .. text)
    return size
end

function vof.dissector(tvb, pinfo, tree)
    local stream = stream_of(pinfo)
    local to_target = pinfo.dst_port == stream.target_port
    if tostring(pinfo.cols.protocol) ~= "VoF" then
        pinfo.cols.protocol = "VoF"
        pinfo.cols.info:clear()
    end
    local start = 0
    while start < tvb:len() do
        local size, missing = take(tvb, pinfo, tree, start, stream, to_target)
        if not size then
            -- More than a capture has of a packet never comes.
            if tvb:len() == tvb:reported_len() then
                pinfo.desegment_offset = start
                pinfo.desegment_len = missing
            end
            return tvb:len()
        end
        start = start + size
    end
    return tvb:len()
end

-- A connection on any other port is ours if it begins with a Connect: with one that has a body, or
-- else with the target of such a one.
local function is_connect(tvb)
    if tvb:len() < HEAD + DESCRIPTOR or tvb(0, 2):le_uint() ~= CONNECT then
        return false
    elseif tvb(8, 2):le_uint() == 1 then
        return tvb(10, 1):uint() <= 2
            and tvb(HEAD + 8, 4):le_uint() == BODY
            and bit.band(tvb(HEAD + 14, 2):le_uint(), WRITE) == 0
    end
    return tvb(8, 4):le_uint() == BODY and tvb(14, 2):uint() == 0 and tvb(HEAD, 1):uint() ~= 0
end

local function is_connect_without_body(tvb)
    return tvb:len() == HEAD and tvb(0, 2):le_uint() == CONNECT and tvb(8, 4):le_uint() == 0
end

vof:register_heuristic("tcp", function(tvb, pinfo, tree)
    local target = ("%s %d"):format(tostring(pinfo.dst), pinfo.dst_port)
    if not (is_connect(tvb) or targets[target] and is_connect_without_body(tvb)) then
        return false
    end
    targets[target] = true
    stream_of(pinfo).target_port = pinfo.dst_port
    pinfo.conversation = vof
    vof.dissector(tvb, pinfo, tree)
    return true
end)

for _, port in ipairs({ PORT, V5_PORT }) do
    DissectorTable.get("tcp.port"):add(port, vof)
end
