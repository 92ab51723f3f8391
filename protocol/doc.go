// Package protocol is what a device and the cloud say to each other: ids, topics, messages and
// their limits. It does no I/O and imports no other package of Hearthline.
//
// Every message is CBOR (RFC 8949) in core deterministic form with integer keys; hearthline.cddl
// is the normative description. Messages travel over MQTT 3.1.1 at QoS 1:
//
//	device -> cloud   hl/1/{tenant}/{device}/up/event       Batch of Event        durable before it is sent
//	                  hl/1/{tenant}/{device}/up/telemetry   Batch of Schema, Block, Gap
//	                  hl/1/{tenant}/{device}/up/assist      Signal
//	                  hl/1/{tenant}/{device}/up/time        TimeRequest, at QoS 0
//	                  hl/1/{tenant}/{device}/state          State                 retained, with a last will
//	cloud -> device   hl/1/{tenant}/{device}/down/ack       Ack
//	                  hl/1/{tenant}/{device}/down/command   COSE_Sign1 of Command, which carries a COSE_Sign1 of Plan
//	                  hl/1/{tenant}/{device}/down/assist    Signal
//	                  hl/1/{tenant}/{device}/down/model     COSE_Sign1 of a risk model
//	                  hl/1/{tenant}/{device}/down/time      nothing, which offers the time, or COSE_Sign1 of Time; at QoS 0
//
// Delivery is end to end. Each of the two up lanes numbers its records within an epoch, from 1 and
// without holes; a device forgets a record only when an Ack covers it:
//
//	device                                   broker                         cloud
//	  | Batch{epoch 7, first 41, 3 records}    |                              |
//	  |--------------------------------------->|----------------------------->| commits 41..43 once
//	  |<--- PUBACK: received, no more ---------|                              |
//	  |<------------------------- Ack{event, epoch 7, committed 43} ----------| only this frees 41..43
package protocol
