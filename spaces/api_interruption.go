package spaces

import "slices"

// InterruptionFilter chooses interruptions; zero values choose all.
type InterruptionFilter struct {
	IDs        []string
	Task       TaskID
	Pending    bool // only those that wait for an answer
	Skip, Take int
}

// InterruptionList lists those of tasks that the actor may see, newest first.
func (tx *ReadTx) InterruptionList(o InterruptionFilter) (Page[Interruption], error) {
	var f filter
	f.ids("id", prefixInterruption, o.IDs)
	if o.Task != 0 {
		f.add("task_id = ?", int64(o.Task))
	}
	if o.Pending {
		f.add("answered_at IS NULL")
	}
	p, err := pageOf(tx, scanInterruption, interruptionColumns, "interruption", "title", "id DESC", f, ListOptions{Skip: o.Skip, Take: o.Take})
	if err != nil {
		return p, err
	}
	kept := slices.DeleteFunc(p.Items, func(i Interruption) bool {
		_, err := tx.Task(i.TaskID)
		return err != nil
	})
	p.Total -= len(p.Items) - len(kept)
	p.Items = kept
	return p, nil
}

// Interruption returns one. It needs TaskView.
func (tx *ReadTx) Interruption(id InterruptionID) (Interruption, error) {
	i, err := scanInterruption(tx.queryRow(`SELECT `+interruptionColumns+` FROM interruption WHERE id = ?`, int64(id)).Scan)
	if err != nil {
		return i, notFound(err, "interruption", id.String())
	}
	if _, err := tx.Task(i.TaskID); err != nil {
		return Interruption{}, notFoundAs(err, "interruption", id.String())
	}
	return i, nil
}
