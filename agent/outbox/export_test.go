package outbox

// Maintain spills and cleans at once.
func Maintain(o *Outbox) { _ = o.maintain(true) }
