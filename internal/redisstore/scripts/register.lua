-- Notes a heartbeat of a holder, for a Cluster: the heartbeats themselves go to all masters afterwards.
--
-- KEYS[1]  the registry
-- ARGV[1]  the holder
-- ARGV[2]  its note
-- ARGV[3]  the identity of the registry if there is none
--
-- Returns the identity of the registry.
return noteHolder(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
