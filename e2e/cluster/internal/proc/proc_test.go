package proc

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStartTimeSurvivesAnOddName(t *testing.T) {
	stat := "12 (a) b ) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"
	start, err := parseStart(stat)
	if err != nil || start != "4242" {
		t.Fatalf("start %q, error %v", start, err)
	}
}

func TestAZombieIsNotAlive(t *testing.T) {
	if _, err := parseStart("12 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"); err == nil {
		t.Fatal("a zombie was taken for a live process")
	}
}

func TestRecordRoundTripAndReuseOfAPid(t *testing.T) {
	self, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "record")
	if err := self.Save(file, "print"); err != nil {
		t.Fatal(err)
	}
	read, print, err := Load(file)
	if err != nil || read != self || print != "print" {
		t.Fatalf("read back %+v %q %v", read, print, err)
	}
	if !read.Alive() {
		t.Fatal("this process is not alive")
	}
	read.Start = "1"
	if read.Alive() {
		t.Fatal("another process with the same pid was taken for the recorded one")
	}
}

func TestCgroupOfAnotherClusterIsNotOurs(t *testing.T) {
	text := "5:memory:/sluice-cluster-ab/x\n0::/\n"
	if underCgroup(text, "/sluice-cluster-a") {
		t.Fatal("a prefix of the name matched")
	}
	if !underCgroup(text, "/sluice-cluster-ab") {
		t.Fatal("a child was not matched")
	}
}

func TestFindSparesThisProcess(t *testing.T) {
	for _, pid := range Find(func(string) bool { return true }) {
		if pid == os.Getpid() || pid == os.Getppid() {
			t.Fatal("found itself or its parent")
		}
	}
}
