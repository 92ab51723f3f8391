package protocol

import (
	"fmt"
	"strings"
)

// topicRoot carries the wire version: a breaking change gets a new root, never a new meaning.
const topicRoot = "hl/1/"

// Lane is one of the two numbered up lanes of a device.
type Lane uint8

// The lanes. Event records are rare and durable before they are sent; telemetry records are sealed blocks.
const (
	LaneEvent     Lane = 1
	LaneTelemetry Lane = 2
)

// String returns the lane's topic level, "event" or "telemetry".
func (l Lane) String() string {
	switch l {
	case LaneEvent:
		return "event"
	case LaneTelemetry:
		return "telemetry"
	}
	return fmt.Sprintf("lane(%d)", uint8(l))
}

// Channel is the part of a topic after the device: what is spoken there.
type Channel string

// The channels, as in the package comment.
const (
	UpEvent     Channel = "up/event"
	UpTelemetry Channel = "up/telemetry"
	UpAssist    Channel = "up/assist"
	UpTime      Channel = "up/time"
	UpState     Channel = "state"
	DownAck     Channel = "down/ack"
	DownCommand Channel = "down/command"
	DownAssist  Channel = "down/assist"
	DownModel   Channel = "down/model"
	DownTime    Channel = "down/time"
)

// Lane returns the up lane that the channel carries; ok is false for every other channel.
func (c Channel) Lane() (l Lane, ok bool) {
	switch c {
	case UpEvent:
		return LaneEvent, true
	case UpTelemetry:
		return LaneTelemetry, true
	}
	return 0, false
}

// Up reports whether devices publish on the channel; on all others the cloud does.
func (c Channel) Up() bool { return c == UpState || strings.HasPrefix(string(c), "up/") }

// Topic is the MQTT topic of one channel of one device.
func Topic(tenant, device string, c Channel) string {
	return topicRoot + tenant + "/" + device + "/" + string(c)
}

// DownFilter is the subscription that a device makes: its own down channels, nothing else.
func DownFilter(tenant, device string) string {
	return topicRoot + tenant + "/" + device + "/down/+"
}

// ParseTopic takes a topic apart and checks every part. Errors wrap ErrInvalid.
func ParseTopic(topic string) (tenant, device string, c Channel, err error) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	tenant, rest, ok1 := strings.Cut(rest, "/")
	device, channel, ok2 := strings.Cut(rest, "/")
	if !ok || !ok1 || !ok2 {
		return "", "", "", fmt.Errorf("%w: topic %q is not %s{tenant}/{device}/{channel}", ErrInvalid, clip(topic), topicRoot)
	}
	if err := CheckID("tenant", tenant); err != nil {
		return "", "", "", err
	}
	if err := CheckID("device", device); err != nil {
		return "", "", "", err
	}
	switch c := Channel(channel); c {
	case UpEvent, UpTelemetry, UpAssist, UpTime, UpState, DownAck, DownCommand, DownAssist, DownModel, DownTime:
		return tenant, device, c, nil
	}
	return "", "", "", fmt.Errorf("%w: topic %q names no channel", ErrInvalid, clip(topic))
}

// clip keeps hostile input from filling an error text.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
